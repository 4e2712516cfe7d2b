"""The operator's page, clicked through in a real browser, with JavaScript and without."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import operated
import pytest
from playwright.sync_api import Page, expect

from changehook import (
    Delivery,
    DeliveryFilter,
    Emitter,
    NetworkPolicy,
    RetryPolicy,
    SQLiteStore,
    ThreadPoolQueue,
    Webhook,
    WebhookRegistry,
)
from changehook.models import new_delivery_id, utcnow
from changehook.receiver import Behaviour, Receiver
from changehook.testing.deliveries import until
from changehook.web import Right, inspection_app

PAGES = {
    "overview": "/",
    "deliveries": "/deliveries",
    "troubled": "/deliveries?status=with-error",
    "empty": "/deliveries?text=nowhere",
    "delivery": None,
    "failing": None,
    "retried": None,
    "webhooks": "/webhooks",
    "webhook": "/webhook?name=chat",
    "bulk": "/bulk?action=retry&status=with-error",
}


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emitter]:
    """An emitter with the deliveries of a day."""
    with contextlib.closing(SQLiteStore(tmp_path_factory.mktemp("day") / "w.db")) as store:
        yield operated.day(store)


@pytest.fixture
def day_url(past: Emitter, serve: Callable) -> str:
    """Where the page of that day is, for an operator."""
    return serve(app_of(past, clock=lambda: operated.NOW))


class World:
    """An emitter with worker threads, a file and a real receiver."""

    def __init__(self, folder: Path) -> None:
        self.receiver = Receiver(port=0, output=lambda text: None, keep=5_000)
        self.source = WebhookRegistry([self.webhook()])
        self.store = SQLiteStore(folder / "w.db", synchronous="NORMAL")
        self.emitter = Emitter(
            webhooks=self.source,
            queue=ThreadPoolQueue(self.store),
            network=NetworkPolicy.internal(),
            retry=RetryPolicy(schedule=(0, 3600), jitter=0),
        )

    def webhook(self, body: str = "") -> Webhook:
        """Return the webhook, as a definition of now."""
        return Webhook(
            name="orders",
            object_types=["order"],
            events=["created", "updated"],
            url=f"{self.receiver.url}/path-secret",
            additional_headers={"Authorization": "Bearer header-secret"},
            body_template=body,
            conditions={"attr": "total", "op": "gt", "value": 10},
            secret="signing-secret",
        )

    def answers(self, status: int) -> None:
        """Have the receiver answer so from now on."""
        self.receiver.behaviour = Behaviour(respond=status)

    def emit(self, count: int = 1, **data: object) -> list[str]:
        """Emit changes, wait for the first attempts, and return the ids of the deliveries."""
        ids = []
        for number in range(count):
            order = {"id": number, "total": 50, "note": 'it\'s "new"\n$HOME', **data}
            before = {**order, "total": 20}
            deliveries = self.emitter.emit_change(
                "updated", "order", order, prechange=before, postchange=order, username="ann"
            )
            ids += [each.id for each in deliveries]
        assert until(lambda: all(self.emitter.queue.get(each).attempts for each in ids))
        return ids

    def given_up(self, count: int) -> list[str]:
        """Keep deliveries that failed, before a worker starts, and return their ids."""
        now = utcnow()
        made = [
            Delivery(
                id=new_delivery_id(now),
                webhook="orders",
                event="updated",
                model="order",
                payload='{"event":"updated","model":"order","data":{"total":50}}',
                created_at=now,  # many at one moment
                due_at=now,
            )
            for _ in range(count)
        ]
        self.store.add(made)
        claimed = self.store.claim(utcnow(), limit=count)
        self.store.save_all([each.given_up("gave up after attempt 10") for each in claimed])
        return [each.id for each in made]

    def status(self, delivery_id: str) -> str:
        """Return the status of a delivery."""
        return str(self.emitter.queue.get(delivery_id).status)

    def arrives(self, delivery_id: str) -> bool:
        """Return whether a delivery is delivered in good time."""
        return until(lambda: self.status(delivery_id) == "delivered")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world that ends with the test."""
    made = World(tmp_path)
    with made.receiver, contextlib.closing(made.store), made.emitter:
        yield made


@pytest.fixture
def url(world: World, serve: Callable) -> str:
    """Where the page of the world is, for an operator."""
    return serve(app_of(world.emitter))


def app_of(emitter: Emitter, right: Right = "operate", **arguments):
    """Return the page for everybody."""
    return inspection_app(emitter, authorize=lambda _: right, **arguments)


def address_of(name: str, emitter: Emitter) -> str:
    """Return the path and query of one of ``PAGES``."""
    wanted = {
        "delivery": DeliveryFilter(webhook="chat", status="delivered"),
        "failing": DeliveryFilter(webhook="pager", failing=True),
        "retried": DeliveryFilter(webhook="inventory", model="ipaddress", failing=True),
    }
    if name not in wanted:
        return str(PAGES[name])
    found = emitter.queue.find(wanted[name], limit=20)
    return f"/delivery?id={max(found, key=lambda each: len(each.attempts)).id}"


# What there is to see


def test_the_overview_says_whether_it_works(day_url, visit, javascript):
    """Health in one line, figures as pictures and as tables, and a way to each trouble."""
    page = visit(f"{day_url}/", javascript=javascript)
    health = page.get_by_role("region", name="Health")
    expect(health).to_contain_text("Needs a look")
    expect(health).to_contain_text("failing: pager")
    expect(health).to_contain_text("2 workers alive")
    expect(page.get_by_role("img")).to_have_count(2)
    page.get_by_text("As a table").first.click()
    expect(page.get_by_role("region", name="Table of outcomes by hour")).to_contain_text(
        "delivered"
    )
    row = page.get_by_role("row", name="pager")
    expect(row).to_contain_text("0%")
    row.get_by_role("link", name="timeout").click()
    expect(page.get_by_role("region", name="What came of it")).to_contain_text("timeout")


def test_tiles_lead_to_the_deliveries_of_a_status(day_url, visit, javascript):
    page = visit(f"{day_url}/", javascript=javascript)
    page.get_by_role("link", name="skipped").first.click()
    assert "status=skipped" in page.url
    expect(page.locator("tbody .pill").first).to_have_text("skipped")


def test_filters_stand_in_links(day_url, past, visit, javascript):
    """A form makes a link, which the tabs and the next page keep."""
    page = visit(f"{day_url}/deliveries", javascript=javascript)
    form = page.get_by_role("search")
    form.get_by_label("Webhook").fill("inventory")
    form.get_by_label("Since").fill("2026-03-10T01:00")
    form.get_by_label("Text").fill("edge-")
    form.get_by_role("button", name="Filter").click()
    expect(form.get_by_label("Text")).to_have_value("edge-")
    page.get_by_role("link", name="with an error").click()
    for name in ("webhook=inventory", "status=with-error", "text=edge-", "since=2026"):
        assert name in page.url
    where = DeliveryFilter(webhook="inventory", with_error=True, text="edge-")
    expect(page.locator("tbody tr")).to_have_count(min(50, past.queue.count(where)))
    form.get_by_label("Error").select_option("status")
    form.get_by_label("Model").fill("ipaddress")
    form.get_by_role("button", name="Filter").click()
    expect(page.locator("tbody .change").first).to_contain_text("ipaddress")
    page.get_by_role("link", name="Clear").click()
    expect(form.get_by_label("Text")).to_have_value("")
    assert page.url.endswith("?status=with-error")


def test_pages_are_stable_while_deliveries_come(world, url, visit, javascript):
    """The second page begins where the first ended, whatever came meanwhile."""
    ids = world.emit(55)
    page = visit(f"{url}/deliveries", javascript=javascript)
    expect(page.locator("tbody tr")).to_have_count(50)
    world.emit(10)
    page.get_by_role("link", name="Older").click()
    shown = page.locator("tbody .id").evaluate_all("each => each.map(one => one.title)")
    assert sorted(shown) == sorted(ids[:5])
    expect(page.get_by_text("These are the oldest.")).to_be_visible()
    page.get_by_role("link", name="Newest").click()
    expect(page.locator("tbody tr")).to_have_count(50)


def test_a_delivery_shows_all_that_is_known(world, url, visit, javascript):
    """The change and what differs, the conditions as judged, requests and responses, no secret."""
    world.answers(503)
    (delivery_id,) = world.emit()
    page = visit(f"{url}/delivery?id={delivery_id}", javascript=javascript)
    expect(page.get_by_role("region", name="What came of it")).to_contain_text("due in 59 min")
    difference = page.get_by_label("Snapshots before and after, with their difference")
    expect(difference.locator("del")).to_contain_text('"total": 20')
    expect(difference.locator("ins")).to_contain_text('"total": 50')
    tree = page.get_by_role("region", name="Conditions")
    expect(tree).to_contain_text("matched")
    expect(tree).to_contain_text("found 50")
    attempts = page.get_by_role("region", name="Attempts")
    expect(attempts).to_contain_text("the receiver answered 503")
    expect(attempts).to_contain_text("X-Hook-Signature")
    expect(attempts).to_contain_text("next attempt due")
    expect(attempts).to_contain_text(world.receiver.url)
    for secret in ("path-secret", "header-secret", "signing-secret"):
        assert secret not in page.content()


# What an operator does


def test_retry_now(world, url, visit, javascript):
    world.answers(503)
    (delivery_id,) = world.emit()
    world.answers(200)
    page = visit(f"{url}/delivery?id={delivery_id}", javascript=javascript)
    page.get_by_role("button", name="Retry now").click()
    expect(page.get_by_role("status")).to_contain_text("Retried")
    assert world.arrives(delivery_id)
    if not javascript:  # with it the page looks by itself
        page.reload()
    answer = page.get_by_role("region", name="What came of it")
    expect(answer).to_contain_text(re.compile("The receiver answered 200 in .*, at attempt 2"))
    first, second = world.receiver.requests
    assert first.body == second.body


def test_retry_re_rendered_makes_the_body_anew(world, url, visit, javascript):
    world.answers(503)
    (delivery_id,) = world.emit()
    world.answers(200)
    world.source.replace([world.webhook('{"repaired": {{ data.total }}}')])
    page = visit(f"{url}/delivery?id={delivery_id}", javascript=javascript)
    page.get_by_role("button", name="Retry re-rendered").click()
    expect(page.get_by_role("status")).to_contain_text("its body is made anew")
    assert world.arrives(delivery_id)
    assert world.receiver.requests[-1].body == b'{"repaired": 50}'


def test_discard_one(world, url, visit, javascript):
    """It takes two clicks, and the delivery is gone."""
    (delivery_id,) = world.emit()
    page = visit(f"{url}/delivery?id={delivery_id}", javascript=javascript)
    expect(page.get_by_role("button", name="Discard for good")).to_be_hidden()
    page.get_by_text("Discard…").click()
    page.get_by_role("button", name="Discard for good").click()
    expect(page.get_by_role("status")).to_have_text("Discarded.")
    expect(page.get_by_text("Nothing was delivered yet")).to_be_visible()
    assert not world.emitter.queue.find()


def test_what_is_gone_says_so(world, url, visit, javascript, expects):
    expects("status of 404")
    page = visit(f"{url}/delivery?id=msg_none", javascript=javascript)
    expect(page.get_by_role("main")).to_contain_text("No such delivery is kept")


def test_retry_all_that_failed(world, url, visit, javascript):
    """Counted first; then each is sent once, and the page says how far it is."""
    ids = world.given_up(1_100)
    page = visit(f"{url}/deliveries?status=failed", javascript=javascript)
    page.get_by_role("link", name="Retry…", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Retry 1,100 deliveries?")
    expect(page.get_by_text("Those that agree with")).to_contain_text("failed")
    page.get_by_role("button", name="Retry them").click()
    expect(page.get_by_role("status")).to_have_text("1,100 were retried.")
    assert all(map(world.arrives, ids))
    sent = [str(each.header("webhook-id")) for each in world.receiver.requests]
    assert sorted(sent) == sorted(ids)


def test_discard_all_of_a_filter(world, url, visit, javascript):
    world.emit(3)
    world.answers(503)
    world.emit(2)
    page = visit(f"{url}/deliveries?status=with-error", javascript=javascript)
    page.get_by_role("link", name="Discard…").click()
    expect(page.get_by_role("main")).to_contain_text("They are removed for good")
    page.get_by_role("link", name="Cancel").click()
    assert page.url.startswith(f"{url}/deliveries?status=with-error")
    page.get_by_role("link", name="Discard…").click()
    page.get_by_role("button", name="Discard them").click()
    expect(page.get_by_role("status")).to_have_text("2 were discarded.")
    assert len(world.emitter.queue.find()) == 3


def test_disable_and_enable(world, url, visit, javascript):
    page = visit(f"{url}/webhook?name=orders", javascript=javascript)
    page.get_by_label("Reason").fill("moves house")
    page.get_by_role("button", name="Disable").click()
    expect(page.get_by_role("status")).to_contain_text("Disabled")
    expect(page.get_by_role("region", name="State")).to_contain_text("moves house")
    assert world.emitter.disabled()["orders"].reason == "moves house"
    page.get_by_role("button", name="Enable").click()
    expect(page.get_by_role("status")).to_contain_text("Enabled")
    assert not world.emitter.disabled()


def test_a_dry_run_of_a_past_change(world, url, visit, javascript):
    """The tree, the request and the signature; nothing is sent."""
    world.emit()
    page = visit(f"{url}/webhook?name=orders", javascript=javascript)
    page.get_by_role("button", name="Dry run").click()
    result = page.locator(".result")
    expect(result).to_contain_text("It fires")
    expect(result).to_contain_text("found 50")
    expect(result).to_contain_text("X-Hook-Signature")
    expect(result).to_contain_text(f"{world.receiver.url}/***")
    expect(result.get_by_label("Dry run body")).to_contain_text('"total":50')
    assert len(world.receiver.requests) == 1


def test_a_dry_run_of_a_pasted_change(world, url, visit, javascript, expects):
    """What is wrong with it is said, and what was typed stays."""
    expects("status of 400")
    page = visit(f"{url}/webhook?name=orders", javascript=javascript)
    text = page.get_by_label("Pasted")
    text.fill('{"event": "created"')
    page.get_by_role("button", name="Dry run").click()
    expect(page.get_by_role("alert")).to_contain_text("the change is not JSON")
    expect(text).to_have_value('{"event": "created"')
    change = '{"event": "created", "model": "order",\n "data": {"total": 5, "note": "a\u00a0b"}}'
    text.fill(change)
    for _ in range(2):  # what comes back from the first is what was typed
        page.get_by_role("button", name="Dry run").click()
        expect(page.locator(".result")).to_contain_text("It does not fire")
        expect(text).to_have_value(change)
    expect(page.locator(".result")).to_contain_text("its conditions do not match")
    assert not world.receiver.requests


def test_a_test_is_sent(world, url, visit, javascript):
    """Through the queue, whatever the conditions say."""
    page = visit(f"{url}/webhook?name=orders", javascript=javascript)
    text = '{"event": "created", "model": "order", "data": {"total": 5, "test": true}}'
    page.get_by_label("Pasted").fill(text)
    page.get_by_text("Test send…").click()
    page.get_by_role("button", name="Send it to the receiver").click()
    expect(page.get_by_role("status")).to_contain_text("Queued as a test")
    (request,) = world.receiver.wait_for(1)
    assert b'"test":true' in request.body
    if not javascript:
        page.reload()
    expect(page.get_by_role("region", name="What came of it")).to_contain_text("answered 200")


def test_the_curl_command_sends_the_same_bytes(world, url, visit, javascript):
    """What is hidden is read from variables, and the rest is as it was sent."""
    (delivery_id,) = world.emit()
    page = visit(f"{url}/delivery?id={delivery_id}", javascript=javascript)
    page.get_by_text("As curl").click()
    command = page.get_by_label("curl command").inner_text()
    variables = {
        "HOOK_URL": f"{world.receiver.url}/path-secret",
        "HOOK_AUTHORIZATION": "Bearer header-secret",
    }
    done = subprocess.run(
        ["sh", "-c", command], env={**os.environ, **variables}, check=True, capture_output=True
    )
    assert not done.stdout
    first, second = world.receiver.wait_for(2)
    assert (first.path, first.body) == (second.path, second.body)
    for name in ("authorization", "webhook-id", "x-hook-signature", "content-type"):
        assert first.header(name) == second.header(name)


def test_copying_tells_that_it_copied(world, url, visit):
    """With a script; without permission the text is selected."""
    (delivery_id,) = world.emit()
    page = visit(f"{url}/delivery?id={delivery_id}")
    page.get_by_text("As curl").click()
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name=re.compile("Copied|Selected"))).to_be_visible()


def test_who_may_only_look_is_offered_nothing_else(world, serve, visit, javascript):
    """No button changes anything, and signatures are for operators."""
    (delivery_id,) = world.emit()
    looked = serve(app_of(world.emitter, "view"))
    page = visit(f"{looked}/delivery?id={delivery_id}", javascript=javascript)
    expect(page.get_by_text("view only")).to_be_visible()
    expect(page.get_by_role("region", name="Attempts")).to_contain_text("***")
    signature = world.receiver.requests[0].header("x-hook-signature")
    assert signature
    for address in (f"delivery?id={delivery_id}", "deliveries", "webhook?name=orders"):
        page.goto(f"{looked}/{address}")
        names = page.locator("main button").all_inner_texts()
        assert set(names) <= {"Filter", "Dry run", ""}  # what is folded has no text
        expect(page.locator(".bulk")).to_have_count(0)
        assert signature not in page.content()


# For everybody


def test_times_are_in_the_zone_of_the_reader(day_url, past, visit):
    """With a script; without one they are in UTC, and the exact moment is the title."""
    address = f"{day_url}{address_of('delivery', past)}"
    delivery = past.queue.get(address.partition("id=")[2])
    exact = f"{delivery.created_at:%Y-%m-%d %H:%M:%S.%f} UTC"
    tokyo = visit(address, timezone="Asia/Tokyo", locale="en-GB")
    time = tokyo.locator(f"time[title='{exact}']").first
    hour = (delivery.created_at + 9 * operated.HOUR).strftime("%H:%M:%S")
    expect(time).to_contain_text(hour)
    expect(tokyo.get_by_role("contentinfo")).to_contain_text("GMT+9")
    plain = visit(address, javascript=False)
    expect(plain.locator(f"time[title='{exact}']").first).to_have_text(
        f"{delivery.created_at:%Y-%m-%d %H:%M:%S} UTC"
    )


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(day_url, past, visit, axe, name, scheme):
    """Landmarks, labels, contrast and more, with every fold open, also on a phone."""
    for width in (1280, 390):
        page = visit(f"{day_url}{address_of(name, past)}", scheme=scheme, width=width)
        opened(page)
        axe(page)


def test_axe_finds_nothing_without_a_script(day_url, past, visit, axe):
    for name in PAGES:
        axe(visit(f"{day_url}{address_of(name, past)}", javascript=False))


def opened(page: Page) -> None:
    """Open every fold."""
    page.locator("details").evaluate_all("each => each.forEach(one => { one.open = true })")


@pytest.mark.parametrize("width", [1280, 820, 390, 320])
def test_nothing_is_wider_than_the_window(day_url, past, visit, width):
    for name in PAGES:
        page = visit(f"{day_url}{address_of(name, past)}", width=width)
        opened(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name


def test_the_keyboard_is_enough(world, url, visit, javascript):
    """From the top of the page: past the navigation, to a delivery, and to its retry."""
    world.answers(503)
    (delivery_id,) = world.emit()
    world.answers(200)
    page = visit(f"{url}/deliveries", javascript=javascript)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    press_until(page, lambda name: name.startswith("updated order"))
    page.keyboard.press("Enter")
    page.wait_for_url("**/delivery?*")
    press_until(page, lambda name: name == "Retry now")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Retried")
    assert world.arrives(delivery_id)


def press_until(page: Page, found: Callable[[str], bool]) -> None:
    """Press Tab until the focus is on something of that text."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if found(page.evaluate("document.activeElement.innerText") or ""):
            return
    pytest.fail("the keyboard does not get there")


def test_what_is_empty_says_what_to_do_next(tmp_path, serve, visit, javascript):
    with contextlib.closing(SQLiteStore(tmp_path / "w.db")) as store:
        emitter = Emitter(queue=ThreadPoolQueue(store))
        with emitter:
            page = visit(f"{serve(app_of(emitter))}/", javascript=javascript)
            expect(page.get_by_text("No webhook is defined")).to_be_visible()
            expect(page.get_by_text("No worker has reported")).to_be_visible()
            page.get_by_role("link", name="Deliveries").click()
            expect(page.get_by_text("Nothing was delivered yet")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["overview", "deliveries", "delivery", "webhook", "bulk"])
def test_screenshots(day_url, past, visit, screenshot, name, scheme):
    """Pictures for the documentation; ``CHANGEHOOK_SCREENSHOTS=docs/images`` puts them there."""
    which = {"delivery": "retried", "deliveries": "troubled"}.get(name, name)
    page = visit(f"{day_url}{address_of(which, past)}", scheme=scheme, timezone="Europe/Amsterdam")
    if name == "webhook":
        page.get_by_role("button", name="Dry run").click()
        expect(page.locator(".result")).to_be_visible()
    assert screenshot(page, f"{name}-{scheme}").stat().st_size > 10_000
