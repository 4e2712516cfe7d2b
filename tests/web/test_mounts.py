"""The page below paths of real frameworks, as the how-to mounts it, in a real browser."""

from __future__ import annotations

import logging
import re
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import attrs
import browsing
import pytest
import recipes
from playwright.sync_api import Page, expect
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from changehook.deliveries import DeliveryStatus
from changehook.emitter import Emitter
from changehook.models import utcnow
from changehook.queues.stored import StoredQueue
from changehook.stores.memory import MemoryStore
from changehook.testing.deliveries import failed, make_delivery
from changehook.web import inspection_app
from changehook.webhooks import Webhook

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

Serve = Callable[[Any], str]
FORBIDDEN = "status of 403"
ADDRESSES = """nodes => nodes.map(node => new URL(["href", "src", "action"].map(
    name => node.getAttribute(name)).find(each => each), document.baseURI).href)"""
BELOW = r"(|bulk|deliver(y|ies)|webhooks?|try|text|static/[^/]+|)([?#].*)?"


@attrs.frozen
class Site:
    """A host with the page below a path, and a way to log in."""

    url: str
    path: str

    def enter(self, page: Page, user: str) -> None:
        """Log in as ann, who may operate, or as carl, who may look."""
        page.goto(f"{self.url}/login?user={user}")


def make_emitter(webhook: str = "chat", deliveries: int = 1) -> Emitter:
    """Return an emitter with deliveries that were given up, which it does not send by itself."""
    hook = Webhook(
        name=webhook, object_types=["*"], events=["*"], url="https://receiver.example/secret"
    )
    store = MemoryStore()
    now = utcnow()
    made = [
        make_delivery(id=f"{webhook}-{number}", webhook=webhook, created_at=now, due_at=now)
        for number in range(deliveries)
    ]
    store.add(made)
    for claimed in store.claim(utcnow(), lease=lambda name: 60.0, limit=deliveries):
        store.save(failed(claimed))
    return Emitter(webhooks=[hook], queue=StoredQueue(store))


def find(emitter: Emitter, number: int = 0) -> Any:
    """Return a delivery as it is now."""
    (webhook,) = emitter.webhooks.all()
    queue: Any = emitter.queue
    return queue.get(f"{webhook.name}-{number}")


@pytest.fixture
def emitter() -> Iterator[Emitter]:
    """The emitter that is shown."""
    with make_emitter(deliveries=3) as emitter:
        yield emitter


@pytest.fixture
def flask_site(emitter: Emitter, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Flask, whose session knows the user."""
    from flask import request, session

    monkeypatch.setenv("SECRET_KEY", "only for tests")
    app = recipes.recipe("myapp/flask_site.py", emitter).app

    @app.route("/login")
    def login() -> str:
        session["user"] = request.args["user"]
        session["is_operator"] = session["user"] == "ann"
        return "logged in"

    return Site(serve(app), "/hooks")


@pytest.fixture
def django_site(emitter: Emitter, serve: Serve) -> Iterator[Site]:
    """Django, with users and sessions in its database."""
    recipes.set_django_up()
    from django.contrib.auth import login
    from django.contrib.auth.models import User
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpRequest, HttpResponse
    from django.test import override_settings
    from django.urls import path

    def enter(request: HttpRequest) -> HttpResponse:
        name = request.GET["user"]
        rights = {"is_staff": True, "is_superuser": name == "ann"}
        user, _ = User.objects.get_or_create(username=name, defaults=rights)
        login(request, user)
        return HttpResponse("logged in")

    views = recipes.recipe("myapp/views.py", emitter)
    urls = (path("login", enter), *views.urlpatterns)
    with override_settings(ROOT_URLCONF=urls):
        yield Site(serve(WSGIHandler()), "/staff/hooks")


@pytest.fixture
def starlette_site(emitter: Emitter, serve_asgi: Serve, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Starlette, whose session middleware knows the user."""
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse

    monkeypatch.setenv("SECRET_KEY", "only for tests")
    app = recipes.recipe("myapp/asgi.py", emitter).app

    async def login(request: Request) -> PlainTextResponse:
        user = request.query_params["user"]
        request.session.update(user=user, is_operator=user == "ann")
        return PlainTextResponse("logged in")

    app.router.add_route("/login", login)
    return Site(serve_asgi(app), "/hooks")


@pytest.fixture
def proxied_site(emitter: Emitter, serve: Serve) -> Site:
    """A server of the page alone, behind a proxy that strips the path and knows the user."""
    page = recipes.recipe("myapp/page.py", emitter).application
    return Site(serve(proxy(page, "/ops/hooks")), "/ops/hooks")


def proxy(page: WSGIApplication, prefix: str) -> WSGIApplication:
    """Return what a proxy does that hands on what is below a prefix, without it."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith(f"{prefix}/"):
            user = environ.get("HTTP_COOKIE", "").partition("user=")[2].partition(";")[0]
            environ |= {"PATH_INFO": path.removeprefix(prefix), "HTTP_X_FORWARDED_USER": user}
            return page(environ, start_response)
        if path == prefix:
            start_response("301 Moved Permanently", [("Location", f"{prefix}/")])
            return []
        user = urllib.parse.parse_qs(environ["QUERY_STRING"])["user"][0]
        cookie = ("Set-Cookie", f"user={user}; Path=/")
        start_response("200 OK", [("Content-Type", "text/plain"), cookie])
        return [b"logged in"]

    return answer


@pytest.fixture(params=["flask", "django", "starlette", "proxied"])
def site(request: pytest.FixtureRequest) -> Site:
    """Each of the hosts."""
    found: Site = request.getfixturevalue(f"{request.param}_site")
    return found


def test_an_operator_finds_a_delivery_and_retries_it(
    site: Site, emitter: Emitter, visit: browsing.Visits, javascript: bool
) -> None:
    """From the path without its slash to a retry, by links and forms, with and without scripts."""
    page = visit(f"{site.url}/login?user=ann", javascript=javascript)
    page.goto(site.url + site.path)
    expect(page).to_have_url(f"{site.url}{site.path}/")
    expect(page.get_by_role("heading", name="Overview")).to_be_attached()
    follow(page, "Deliveries")
    expect(page).to_have_url(f"{site.url}{site.path}/deliveries")
    page.get_by_role("link", name=re.compile("chat-0$")).click()
    expect(page.locator("h1 + .id")).to_have_text("chat-0")
    page.get_by_role("button", name="Retry now").click()
    expect(page.get_by_role("status")).to_contain_text("Retried: it is due now")
    assert find(emitter).status is DeliveryStatus.PENDING
    assert find(emitter, 1).status is DeliveryStatus.FAILED
    assert page.url.startswith(f"{site.url}{site.path}/delivery?")
    (cookie,) = [each for each in page.context.cookies() if each["name"] == "changehook_csrf"]
    assert (cookie["path"], cookie["httpOnly"]) == (site.path, True)


def test_an_operator_retries_all_that_failed(
    site: Site, emitter: Emitter, visit: browsing.Visits, javascript: bool
) -> None:
    """What scripts fetch, and what forms do without them, is below the path as well."""
    page = visit(f"{site.url}/login?user=ann", javascript=javascript)
    page.goto(f"{site.url}{site.path}/deliveries?status=failed")
    page.get_by_role("link", name="Retry…").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Retry 3 deliveries?")
    page.get_by_role("button", name="Retry them").click()
    expect(page.get_by_role("status")).to_contain_text("3 were retried.")
    assert {find(emitter, number).status for number in range(3)} == {DeliveryStatus.PENDING}


def test_a_dry_run_is_made_below_the_path(
    site: Site, visit: browsing.Visits, javascript: bool
) -> None:
    """Whoever may look can try a webhook out, by a form that is posted."""
    page = visit(f"{site.url}/login?user=carl", javascript=javascript)
    page.goto(f"{site.url}{site.path}/")
    follow(page, "Webhooks")
    page.get_by_role("link", name="chat", exact=True).click()
    page.locator("select[name=delivery]").select_option("")
    page.get_by_role("button", name="Dry run").click()
    expect(page.get_by_role("heading", name="It fires")).to_be_visible()


def test_who_is_not_logged_in_sees_nothing(
    site: Site, visit: browsing.Visits, expects: Callable[..., None]
) -> None:
    """A stranger is refused, at each path and with each method."""
    expects(FORBIDDEN)
    page = visit(f"{site.url}{site.path}/")
    expect(page.get_by_text("You may not see this page.")).to_be_visible()
    for path in ("/deliveries", "/delivery?id=chat-0", "/static/page.css"):
        assert page.request.get(f"{site.url}{site.path}{path}").status == 403
    answer = page.request.post(f"{site.url}{site.path}/delivery", form={"id": "chat-0"})
    assert answer.status == 403
    assert "changehook_csrf" not in {each["name"] for each in page.context.cookies()}


def test_who_may_look_changes_nothing(
    site: Site, emitter: Emitter, visit: browsing.Visits, javascript: bool
) -> None:
    """A viewer has no buttons, and a form of his own making is refused."""
    page = visit(f"{site.url}/login?user=carl", javascript=javascript)
    page.goto(f"{site.url}{site.path}/delivery?id=chat-0")
    expect(page.get_by_text("view only")).to_be_visible()
    expect(page.get_by_role("button", name="Retry now")).to_have_count(0)
    (token,) = [each for each in page.context.cookies() if each["name"] == "changehook_csrf"]
    form = {"id": "chat-0", "action": "retry", "csrf": token["value"]}
    answer = page.request.post(f"{site.url}{site.path}/delivery", form=form)
    assert (answer.status, "You may look" in answer.text()) == (403, True)
    assert find(emitter).status is DeliveryStatus.FAILED


def test_a_form_without_its_token_is_refused(
    site: Site, emitter: Emitter, visit: browsing.Visits
) -> None:
    """Whatever the host does about forged forms, the page looks at its own token."""
    page = visit(f"{site.url}/login?user=ann")
    page.goto(f"{site.url}{site.path}/")
    form = {"id": "chat-0", "action": "retry"}
    answer = page.request.post(f"{site.url}{site.path}/delivery", form=form)
    assert (answer.status, "did not come from a page" in answer.text()) == (403, True)
    assert find(emitter).status is DeliveryStatus.FAILED


def test_answers_come_through_a_host_as_they_are(site: Site, visit: browsing.Visits) -> None:
    """Status, headers and bodies are those of the page, also of what is missing and of files."""
    page = visit(f"{site.url}/login?user=ann")
    base = f"{site.url}{site.path}"
    missing = page.request.get(f"{base}/delivery?id=none")
    assert missing.status == 404
    assert "No such delivery is kept" in missing.text()
    for answer in (missing, page.request.get(f"{base}/"), page.request.get(f"{base}/deliveries")):
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert int(answer.headers["content-length"]) == len(answer.body())
    style = page.request.get(f"{base}/static/page.css")
    assert (style.status, style.headers["content-type"]) == (200, "text/css; charset=utf-8")
    head = page.request.head(f"{base}/")
    assert (head.status, head.body()) == (200, b"")
    text = page.request.get(f"{base}/text?id=chat-0&part=payload")
    assert "Zürich" in text.text()


def test_the_log_names_the_user(
    site: Site, visit: browsing.Visits, caplog: pytest.LogCaptureFixture
) -> None:
    """What authorize writes as REMOTE_USER stands beside what was done."""
    page = visit(f"{site.url}/login?user=ann", javascript=False)
    page.goto(f"{site.url}{site.path}/delivery?id=chat-0")
    with caplog.at_level(logging.INFO, "changehook.web"):
        page.get_by_role("button", name="Retry now").click()
        expect(page.get_by_role("status")).to_be_visible()
    assert "delivery chat-0 was retried by ann" in caplog.messages


def follow(page: Page, name: str) -> None:
    """Follow a link of the navigation."""
    page.get_by_role("navigation", name="Pages", exact=True).get_by_role("link", name=name).click()


# Over HTTPS


@pytest.mark.parametrize(("scheme", "secure"), [("https", True), ("http", False)])
def test_a_cookie_over_https_is_secure(scheme: str, secure: bool) -> None:
    """The cookie says Secure when, and only when, the server knows that the visitor uses HTTPS."""
    app = operators(make_emitter())
    told: list[Any] = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "wsgi.url_scheme": scheme}
    list(app(environ, lambda status, headers: told.extend(headers)))
    (cookie,) = [value for name, value in told if name == "Set-Cookie"]
    assert ("; Secure" in cookie) is secure


def test_django_says_that_the_visitor_uses_https(django_site: Site, visit: browsing.Visits) -> None:
    """Behind a proxy that ends TLS the cookie is Secure, by the setting of Django for that."""
    from django.test import override_settings

    page = visit(f"{django_site.url}/login?user=ann")
    with override_settings(SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https")):
        headers = {"X-Forwarded-Proto": "https"}
        answer = page.request.get(f"{django_site.url}{django_site.path}/", headers=headers)
    assert "HttpOnly; SameSite=Lax; Secure" in answer.headers["set-cookie"]


# Two mounts in one process


def operators(emitter: Emitter) -> WSGIApplication:
    """Return a page on which everybody may operate."""
    return inspection_app(emitter, authorize=lambda environ: "operate")


def nothing(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer that nothing is there."""
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [b"nothing here"]


@pytest.fixture(params=[("/a", "/b"), ("/hooks", "/hooks/more"), ("", "/more")])
def places(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Where two pages are: beside each other, and one below the other."""
    first, second = request.param
    return first, second


@pytest.fixture
def two(places: tuple[str, str], serve: Serve) -> Iterator[tuple[str, list[Emitter]]]:
    """Two pages with an emitter each, in one process."""
    first, second = places
    with make_emitter("alpha", 2) as alpha, make_emitter("omega", 2) as omega:
        pages = {first: operators(alpha), second: operators(omega)}
        below = pages.pop("", nothing)
        yield serve(DispatcherMiddleware(below, pages)), [alpha, omega]


def test_two_pages_show_what_is_theirs(
    two: tuple[str, list[Emitter]], places: tuple[str, str], visit: browsing.Visits
) -> None:
    """Each lists its own deliveries and webhooks, and its links stay below its path."""
    url, _ = two
    page = visit(f"{url}{places[0]}/")
    for place, own, other in zip(places, ("alpha", "omega"), ("omega", "alpha"), strict=True):
        for name in ("", "deliveries", "webhooks", f"webhook?name={own}", f"delivery?id={own}-0"):
            page.goto(f"{url}{place}/{name}")
            text = page.locator("body").inner_text()
            assert own in text
            assert other not in text
            links = page.locator("a[href], link[href], script[src], form[action]")
            for found in links.evaluate_all(ADDRESSES):
                assert re.fullmatch(rf"{re.escape(url + place)}/{BELOW}", found), found
        assert page.request.get(f"{url}{place}/delivery?id={other}-0").status == 404


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["first-first", "second-first"])
def test_two_pages_open_at_once_do_not_mix(
    two: tuple[str, list[Emitter]],
    places: tuple[str, str],
    visit: browsing.Visits,
    javascript: bool,
    order: tuple[int, int],
) -> None:
    """Both are open in one browser; the forms of each go on working, in whichever order."""
    url, emitters = two
    names = ("alpha", "omega")
    addresses = [
        f"{url}{place}/delivery?id={name}-0" for place, name in zip(places, names, strict=True)
    ]
    pages: dict[int, Page] = {order[0]: visit(addresses[order[0]], javascript=javascript)}
    pages[order[1]] = pages[order[0]].context.new_page()
    pages[order[1]].goto(addresses[order[1]])
    for index in order:
        pages[index].get_by_role("button", name="Retry now").click()
        expect(pages[index].get_by_role("status")).to_contain_text("Retried")
        assert find(emitters[index]).status is DeliveryStatus.PENDING
        assert find(emitters[index], 1).status is DeliveryStatus.FAILED


def test_a_token_of_one_page_opens_no_other(
    two: tuple[str, list[Emitter]], places: tuple[str, str], visit: browsing.Visits
) -> None:
    """A form with the token of the other page changes nothing."""
    url, emitters = two
    page = visit(f"{url}{places[1]}/delivery?id=omega-0")
    page.goto(f"{url}{places[0]}/delivery?id=alpha-0")
    token = page.locator("input[name=csrf]").first.input_value()
    form = {"id": "omega-0", "action": "retry", "csrf": token}
    assert page.request.post(f"{url}{places[1]}/delivery", form=form).status == 403
    assert find(emitters[1]).status is DeliveryStatus.FAILED
