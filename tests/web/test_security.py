"""Who may do what on the operator's page, what it never shows, and what it never obeys."""

from __future__ import annotations

import html
import json
import logging
import re
import urllib.parse
from typing import Any
from unittest import mock

import pytest
from web.asking import ask, emitter, hook, kept, look, page_of, payload, send

from changehook import ConfigurationError, Delivery, generate_secret
from changehook.deliveries import DeliveryStatus
from changehook.exchange import Request, Response
from changehook.web import inspection_app

S = "s3cr3t-value-x9"
PAGES = ("/", "/deliveries", "/webhooks")
CHANGES = [
    ("/delivery", {"action": "retry"}),
    ("/delivery", {"action": "rerender"}),
    ("/delivery", {"action": "discard"}),
    ("/webhook", {"name": "h", "action": "disable"}),
    ("/webhook", {"name": "h", "action": "enable"}),
    ("/bulk", {"action": "retry"}),
    ("/bulk", {"action": "discard"}),
    ("/try", {"name": "h", "action": "send", "change": payload()}),
]


# Rights


@pytest.mark.parametrize("authorize", [None, "operate", True, {"view"}])
def test_without_a_function_that_authorizes_there_is_no_page(authorize: Any) -> None:
    with pytest.raises(ConfigurationError, match="authorize"):
        inspection_app(emitter(), authorize=authorize)


@pytest.mark.parametrize("right", [None, "", "admin", "OPERATE", True, 1, b"view", ["operate"]])
@pytest.mark.parametrize("path", ["", *PAGES, "/static/page.js", "/nothing"])
def test_nobody_else_sees_anything(right: Any, path: str) -> None:
    answer = ask(page_of(emitter(hook()), right), path)
    assert (answer.status, answer.text) == (403, "You may not see this page.\n")
    assert "Set-Cookie" not in answer.headers


def test_what_authorize_raises_lets_nobody_in_and_is_not_quoted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def authorize(environ: Any) -> Any:
        raise LookupError(S)

    answer = ask(inspection_app(emitter(), authorize=authorize))
    assert answer.status == 403
    assert S not in answer.text + caplog.text
    assert "LookupError" in caplog.text


def test_what_equals_everything_is_no_right() -> None:
    assert ask(page_of(emitter(), mock.ANY)).status == 403


def test_what_cannot_be_compared_is_no_right() -> None:
    class Column:
        def __eq__(self, other: object) -> bool:
            raise TypeError(S)

        __hash__ = None

    assert ask(page_of(emitter(), Column())).status == 403


@pytest.mark.parametrize(("path", "fields"), CHANGES)
def test_whoever_may_look_changes_nothing(path: str, fields: dict[str, str]) -> None:
    sender = emitter(hook())
    delivery = kept(sender, status=DeliveryStatus.FAILED)
    answer = send(page_of(sender, "view"), path, {"id": delivery.id, **fields})
    assert answer.status == 403
    assert sender.queue.deliveries == [delivery]
    assert not sender.disabled()


def test_whoever_may_look_is_offered_no_button_for_a_change() -> None:
    sender = emitter(hook())
    app, delivery = page_of(sender, "view"), kept(sender)
    pages = [look(app, path) for path in PAGES]
    pages += [look(app, "/delivery", id=delivery.id), look(app, "/webhook", name="h")]
    buttons = re.findall(r"<button[^>]*>", "".join(page.text for page in pages))
    assert buttons == ["<button>", '<button name="action" value="try">']
    assert look(app, "/bulk", action="discard").status == 403


# Forged requests


@pytest.mark.parametrize(("path", "fields"), CHANGES)
@pytest.mark.parametrize(
    "forged",
    [
        {"token": ""},
        {"token": "x" * 43},
        {"cookie": ""},
        {"cookie": "changehook_csrf=", "token": ""},
        {"cookie": "changehook_csrf=a", "token": "a"},
        {"HTTP_SEC_FETCH_SITE": "cross-site"},
        {"HTTP_SEC_FETCH_SITE": "same-site"},
        {"HTTP_SEC_FETCH_SITE": "none"},
        {"CONTENT_TYPE": "text/plain"},
        {"CONTENT_TYPE": "multipart/form-data; boundary=x"},
        {"CONTENT_LENGTH": "0"},
        {"CONTENT_LENGTH": "-1"},
        {"CONTENT_LENGTH": "99999999999"},
    ],
)
def test_a_form_from_elsewhere_changes_nothing(
    path: str, fields: dict[str, str], forged: dict[str, str]
) -> None:
    sender = emitter(hook())
    delivery = kept(sender, status=DeliveryStatus.FAILED)
    answer = send(page_of(sender), path, {"id": delivery.id, **fields}, **forged)
    assert answer.status in (400, 403, 413, 415)
    assert sender.queue.deliveries == [delivery]
    assert not sender.disabled()


def test_a_form_of_a_sibling_domain_changes_nothing_where_browsers_send_no_fetch_metadata() -> None:
    sender = emitter(hook())
    delivery = kept(sender)
    origin = {"HTTP_HOST": "app.example", "HTTP_ORIGIN": "http://evil.app.example"}
    form = {"id": delivery.id, "action": "discard"}
    assert send(page_of(sender), "/delivery", form, **origin).status == 403


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
@pytest.mark.parametrize(("path", "fields"), CHANGES)
def test_only_a_form_that_is_posted_changes_anything(
    method: str, path: str, fields: dict[str, str]
) -> None:
    sender = emitter(hook())
    delivery = kept(sender, status=DeliveryStatus.FAILED)
    query = urllib.parse.urlencode({"id": delivery.id, **fields, "csrf": "t" * 43})
    cookie = {"HTTP_COOKIE": f"changehook_csrf={'t' * 43}"}
    ask(page_of(sender), path, query, REQUEST_METHOD=method, **cookie)
    assert sender.queue.deliveries == [delivery]
    assert not sender.disabled()


def test_a_token_in_the_link_is_none() -> None:
    sender = emitter(hook())
    delivery = kept(sender)
    form = {"id": delivery.id, "action": "discard"}
    query = {"QUERY_STRING": f"csrf={'t' * 43}"}
    assert send(page_of(sender), "/delivery", form, token="", **query).status == 403


def test_the_first_of_two_cookies_counts() -> None:
    """It is the one of the longest path: of the mount /a/b before that of /a."""
    sender = emitter(hook())
    app, delivery = page_of(sender), kept(sender)
    own, other = f"changehook_csrf={'t' * 43}", f"changehook_csrf={'o' * 43}"
    form = {"id": delivery.id, "action": "retry"}
    assert send(app, "/delivery", form, cookie=f"{other}; {own}").status == 403
    assert send(app, "/delivery", form, cookie=f"{own}; {other}").status == 303


# Headers


@pytest.mark.parametrize("path", ["", *PAGES, "/static/page.js", "/nothing", "/delivery"])
@pytest.mark.parametrize("right", ["operate", None])
def test_every_answer_carries_the_headers_that_keep_it_to_itself(path: str, right: Any) -> None:
    headers = ask(page_of(emitter(hook()), right), path).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] in ("no-referrer", "same-origin")
    assert "no-store" in headers["Cache-Control"] or path.startswith("/static/")


def test_pages_have_neither_script_nor_style_nor_handler_of_their_own() -> None:
    sender = emitter(hook())
    app, delivery = page_of(sender), kept(sender)
    pages = [look(app, path) for path in PAGES]
    pages += [look(app, "/delivery", id=delivery.id), look(app, "/webhook", name="h")]
    text = "".join(page.text for page in pages)
    assert set(re.findall(r"<script[^>]*>", text)) == set(
        re.findall(r'<script src="static/[^"]*" defer>', text)
    )
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|<base", text)


@pytest.mark.parametrize(
    "mount", ["", "/", "/a", "//evil.example", "/a/b", "/a/https:", "/a\r\nX-Evil: 1", "/a?b"]
)
def test_the_slash_that_is_missing_leads_nowhere_else(mount: str) -> None:
    answer = ask(page_of(emitter()), "", SCRIPT_NAME=mount)
    target = urllib.parse.urljoin(f"https://host.example{urllib.parse.quote(mount)}", "./")
    location = answer.headers["Location"]
    assert answer.status == 303
    assert not re.search(r"[\r\n:]|^//|^\\", location)
    assert target.startswith("https://host.example/")


def test_a_mount_of_other_than_ascii_letters_is_found_again() -> None:
    mount = "/büro".encode().decode("latin-1")
    assert ask(page_of(emitter()), "", SCRIPT_NAME=mount).headers["Location"] == "b%C3%BCro/"


@pytest.mark.parametrize("given", ["a\r\nSet-Cookie: x=1", "//evil.example", "é\0"])
def test_where_a_form_leads_cannot_break_out_of_its_header(given: str) -> None:
    form = {"name": given, "action": "disable"}
    answer = send(page_of(emitter()), "/webhook", form)
    assert re.fullmatch(r"[\x21-\x7e]*", answer.headers.get("Location", ""))
    assert not answer.headers.get("Location", "").startswith("/")


def test_the_cookie_is_for_the_mount_alone_and_not_for_scripts() -> None:
    cookie = ask(page_of(emitter()), "/", **{"wsgi.url_scheme": "https"}).headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Lax", "Secure"} <= set(cookie.split("; "))
    assert "path=" not in cookie.lower()


def test_a_method_that_is_not_known_is_told_which_are() -> None:
    answer = ask(page_of(emitter()), "/delivery", REQUEST_METHOD="PUT")
    assert (answer.status, answer.headers.get("Allow")) == (405, "GET, POST")


def test_head_has_no_body() -> None:
    answer = ask(page_of(emitter()), "/", REQUEST_METHOD="HEAD")
    assert (answer.status, answer.text) == (200, "")


# What is hidden


def shown(sender: Any, delivery: Delivery, right: str = "operate") -> str:
    """Return every page on which something of a delivery stands."""
    app = page_of(sender, right)
    answers = [look(app, path) for path in PAGES]
    answers.append(look(app, "/delivery", id=delivery.id))
    answers += [look(app, "/text", id=delivery.id, part=part) for part in ("payload", "body")]
    answers.append(look(app, "/webhook", name=delivery.webhook))
    trial = {"name": delivery.webhook, "delivery": delivery.id, "action": "try"}
    answers.append(send(app, "/try", trial))
    return html.unescape("".join(answer.text for answer in answers))


@pytest.mark.parametrize(
    ("fields", "quoted"),
    [
        ({"additional_headers": {"X-Api-Key": S}}, S),
        ({"additional_headers": {"Authorization": f"Bearer {S}"}}, S),
        ({"additional_headers": {"Cookie": f"a=b; sid={S}"}}, S),
        ({"additional_headers": {"X-From-Data": "{{ data.quoted }}"}}, S),
        ({"secret": S}, S),
        ({"secret": lambda: S}, S),
        ({"url": f"https://receiver.example/services/{S}"}, f"services/{S}"),
        ({"url": f"https://receiver.example/?token={S}"}, f"token={S}"),
        ({"url": "https://receiver.example/services/{{ data.id }}"}, "services/31415926"),
    ],
)
@pytest.mark.parametrize("right", ["view", "operate"])
def test_secrets_are_hidden_wherever_a_delivery_quotes_them(
    fields: dict[str, Any], quoted: str, right: str
) -> None:
    sender = emitter(hook(**fields))
    snapshots = {"prechange": {"v": quoted}, "postchange": {"v": f"<{quoted}>", quoted: 1}}
    data = {"id": 31415926, "quoted": quoted, quoted: [quoted]}
    text = payload(data=data, snapshots=snapshots)
    assert quoted not in shown(sender, kept(sender, payload=text, body=text), right)


def test_a_secret_that_a_condition_found_is_hidden() -> None:
    conditions = {"attr": "token", "op": "contains", "value": "x"}
    sender = emitter(hook(additional_headers={"X-Api-Key": S}, conditions=conditions))
    assert S not in shown(sender, kept(sender, payload=payload(data={"token": S})))


@pytest.mark.parametrize("name", ["username", "request_id"])
def test_a_secret_among_the_facts_of_a_change_is_hidden(name: str) -> None:
    sender = emitter(hook(additional_headers={"X-Api-Key": S}))
    assert S not in shown(sender, kept(sender, payload=payload(**{name: S})))


@pytest.mark.parametrize("name", ["username", "request_id"])
@pytest.mark.parametrize("place", range(180, 310, 5))
def test_a_secret_that_is_cut_off_among_the_facts_is_hidden(name: str, place: int) -> None:
    key = f"{S}-{S}-{S}"
    sender = emitter(hook(additional_headers={"X-Api-Key": key}))
    text = "y" * place + key
    assert S not in shown(sender, kept(sender, payload=payload(**{name: text})))


def test_a_secret_is_hidden_also_when_the_request_cannot_be_made() -> None:
    sender = emitter(hook(additional_headers={"X-Token": "{{ data.token }}"}))
    text = payload(data={"token": S, "large": "x" * 1_100_000})
    assert S not in shown(sender, kept(sender, payload=text))


def test_a_secret_that_is_cut_off_in_a_comparison_is_hidden() -> None:
    key = f"{S}-{S}-{S}"
    sender = emitter(hook(additional_headers={"X-Api-Key": key}))
    snapshots = {"prechange": {"v": 1}, "postchange": {"v": "y" * 370 + key}}
    assert S not in shown(sender, kept(sender, payload=payload(snapshots=snapshots)))


@pytest.mark.parametrize("url", [f"hook/{S}/x?b=1", f"hook?token={S}&b=1"])
def test_a_part_of_path_or_query_is_hidden_where_it_stands_alone(url: str) -> None:
    sender = emitter(hook(url=f"https://receiver.example/{url}"))
    assert S not in shown(sender, kept(sender, payload=payload(data={"token": S})))


class Echo:
    """A receiver that answers with the signature it got."""

    signature = ""

    def send(self, request: Request, /) -> Response:
        self.signature = request.headers["webhook-signature"]
        headers = {"webhook-signature": self.signature}
        return Response(status=200, headers=headers, body=self.signature.encode())

    def close(self) -> None:
        """Have nothing to close."""


def test_signatures_are_for_operators() -> None:
    sender = emitter(hook(secret=generate_secret()))
    [delivery] = sender.emit_change("created", "site", {"name": "x"})
    sender.queue.run()
    assert "v1," in shown(sender, delivery)
    assert "v1," not in shown(sender, delivery, "view")


def test_signatures_that_a_receiver_quotes_are_for_operators_as_well() -> None:
    echo = Echo()
    sender = emitter(hook(secret=generate_secret()), transport=echo)
    [delivery] = sender.emit_change("created", "site", {"name": "x"})
    sender.queue.run()
    assert echo.signature not in shown(sender, delivery, "view")


def test_a_secret_that_cannot_be_had_is_not_quoted() -> None:
    def secret() -> str:
        raise LookupError(S)

    sender = emitter(hook(secret=secret))
    text = shown(sender, kept(sender, payload=payload()))
    assert "The request cannot be made" in text
    assert S not in text


def test_what_a_queue_raises_is_not_quoted(caplog: pytest.LogCaptureFixture) -> None:
    sender = emitter(hook())
    app = page_of(sender)
    with mock.patch.object(sender.queue, "find", side_effect=OSError(S)):
        answer = look(app, "/deliveries")
    assert answer.status == 500
    assert S not in answer.text + caplog.text
    assert "OSError" in caplog.text


# Two mounts, and nothing between requests


def test_two_mounts_of_two_emitters_do_not_mix() -> None:
    senders = [emitter(hook("one")), emitter(hook("two"))]
    apps = [page_of(sender) for sender in senders]
    deliveries = [
        kept(sender, webhook=name) for sender, name in zip(senders, ("one", "two"), strict=True)
    ]
    assert look(apps[0], "/delivery", id=deliveries[1].id).status == 404
    assert "two" not in look(apps[0], "/webhooks").text
    send(apps[0], "/bulk", {"action": "discard"})
    assert senders[1].queue.deliveries == [deliveries[1]]
    send(apps[1], "/webhook", {"name": "two", "action": "disable"})
    assert (list(senders[0].disabled()), list(senders[1].disabled())) == ([], ["two"])


def test_a_request_says_nothing_about_the_one_before() -> None:
    sender = emitter(hook())
    rights = iter(["operate", "view", None])
    app = inspection_app(sender, authorize=lambda environ: next(rights))
    texts = [ask(app, "/webhook", "name=h").text for _ in range(3)]
    assert ["Disable" in text for text in texts] == [True, False, False]


# Who did what


def test_what_was_done_is_logged_on_one_line(caplog: pytest.LogCaptureFixture) -> None:
    sender = emitter(hook())
    app, delivery = page_of(sender), kept(sender)
    caplog.set_level(logging.INFO, "changehook.web")
    form = {"id": delivery.id, "action": "retry"}
    send(app, "/delivery", form, REMOTE_USER="eve\nroot did it \x1b[2J")
    assert caplog.messages == [f"delivery {delivery.id} was retried by eve\\nroot did it \\x1b[2J"]


def test_a_reason_cannot_forge_a_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    form = {"name": "h", "action": "disable", "reason": "x\nERROR forged \u202e"}
    send(page_of(emitter(hook())), "/webhook", form)
    assert all(message.isprintable() for message in caplog.messages)


# All that agree


def bulk_until_over(sender: Any, **fields: str) -> dict[str, Any]:
    """Do all slices, as the script of the page does."""
    app = page_of(sender)
    form = {"seen": "0", "done": "0", "after": "", **fields}
    for _ in range(20):
        answer = send(app, "/bulk", form, HTTP_ACCEPT="application/json")
        state: dict[str, Any] = json.loads(answer.text)
        form |= {name: str(state[name]) for name in ("seen", "done", "after")}
        if state["over"]:
            return state
    raise AssertionError("it never ends")


def test_each_delivery_that_agrees_is_acted_on_once() -> None:
    sender = emitter(hook())
    failed = [kept(sender, status=DeliveryStatus.FAILED).id for _ in range(1_001)]
    other = kept(sender, status=DeliveryStatus.DELIVERED)
    state = bulk_until_over(sender, action="retry", status="failed")
    revisions = [sender.queue.get(each).revision for each in failed]
    assert (state["seen"], state["done"], set(revisions)) == (1_001, 1_001, {1})
    assert sender.queue.get(other.id) == other


def test_each_delivery_is_acted_on_once_also_when_it_still_agrees_afterwards() -> None:
    sender = emitter(hook())
    pending = [kept(sender).id for _ in range(1_001)]
    state = bulk_until_over(sender, action="retry", status="pending")
    revisions = [sender.queue.get(each).revision for each in pending]
    assert (state["seen"], state["done"], set(revisions)) == (1_001, 1_001, {1})


def test_the_script_sends_the_form_to_where_the_form_goes() -> None:
    script = look(page_of(emitter()), "/static/page.js").text
    assert "bulk.action" not in script
