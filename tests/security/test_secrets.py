"""Marker secrets stand wherever a secret may, go through everything, and are looked for everywhere.

``preview`` shows them when asked to reveal; the payload and the body are kept as they are, which is
why the documentation says to put no secret there.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import functools
import http.client
import inspect
import io
import json
import logging
import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import attrs
import pytest
from misbehaving import Server, well
from security import attacks_secrets as attacks
from security.attacks_secrets import SECRETS
from security.attacks_secrets_crashes import CHANGE, PROXY, crashes
from security.markers import (
    Place,
    Witness,
    crash_report,
    holders,
    mark,
    objects,
    shown,
    spelled,
    whsec,
)

import changehook
from changehook import (
    cli,
    conditions,
    deliveries,
    exchange,
    explanations,
    interfaces,
    models,
    receiver,
    signing,
)
from changehook.demo import demonstrate
from changehook.errors import AttemptError, ChangehookError, ConfigurationError, hides_locals
from changehook.exchange import Preview, Response
from changehook.receiver import Behaviour, Receiver
from changehook.testing import RecordingTransport
from changehook.testing.deliveries import until

MODULES = (
    changehook,
    conditions,
    deliveries,
    exchange,
    explanations,
    interfaces,
    models,
    receiver,
    signing,
)
CALLS = tuple(crashes(Path()))
SENT = ("path", "query", "bearer", "api-key", "cookie", "basic", "data", "literal")


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch) -> None:
    """A marker in the environment, and a host that has http.client print what it sends."""
    monkeypatch.setenv(attacks.ENVIRONMENT, mark("environment"))
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)


def leaks(places: list[Place]) -> list[str]:
    """Return where a marker is shown, and which; empty is good."""
    return sorted({f"{place}: {', '.join(shown(text))}" for place, text in places if shown(text)})


@contextlib.contextmanager
def terminal(places: list[Place]) -> Iterator[None]:
    """Add what is printed to the places."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield
    places += [("standard output", out.getvalue()), ("standard error", err.getvalue())]


@functools.cache
def delivered(name: str) -> list[Place]:
    """Return what one way of delivering shows."""
    places: list[Place] = []
    with terminal(places):
        places += attacks.DELIVERIES[name]()
    return places


@functools.cache
def crashed(name: str) -> tuple[BaseException, list[Place]]:
    """Return what one call raises, and what its crash report shows."""
    places: list[Place] = []
    with tempfile.TemporaryDirectory() as folder, terminal(places), Witness() as witness:
        try:
            crashes(Path(folder))[name]()
        except BaseException as error:
            # While a constructor runs, its frames hold what the host gives it, as the host's do.
            logged = [each for each in witness.places if "transport: variable" not in each[0]]
            return error, places + logged + list(crash_report(error))
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize("name", attacks.DELIVERIES)
def test_no_delivery_shows_a_secret(name: str) -> None:
    """Logs, listeners, messages, records, reprs and the terminal, for every kind of outcome."""
    assert leaks(delivered(name)) == []


@pytest.mark.parametrize("name", CALLS)
def test_no_crash_report_shows_a_secret(name: str) -> None:
    """Texts, attributes, frames and chain of what is raised, and what is logged and printed."""
    assert leaks(crashed(name)[1]) == []


def test_every_kind_of_error_was_met() -> None:
    """Every class of the tree, as something raised or as the class of an attempt."""
    raised = {type(crashed(name)[0]) for name in CALLS}
    classes = {
        json.loads(text)["error_class"]
        for name in attacks.DELIVERIES
        for place, text in delivered(name)
        if place == "attempt"
    }
    every = {cls for cls in vars(changehook.errors).values() if inspect.isclass(cls)}
    every = {cls for cls in every if issubclass(cls, ChangehookError)}
    missed = {cls.__name__ for cls in every - raised if not issubclass(cls, AttemptError)}
    assert missed == set()
    expected = {cls.error_class for cls in every if issubclass(cls, AttemptError)} | {"status"}
    assert expected - classes == set()


# Objects


def everything(stack: contextlib.ExitStack) -> list[object]:
    """Return an object of every public class, each with markers wherever it takes them."""
    server = stack.enter_context(Server(well))
    hooks = attacks.webhooks(f"http://127.0.0.1:{server.port}")
    behaviour = Behaviour(verify=(mark("plain"), whsec("whsec-new-key-of-32-bytes")))
    listening = stack.enter_context(Receiver(port=0, output=len, behaviour=behaviour))
    to_receiver = attacks.webhooks(listening.url)[:1]
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    path = folder / "webhooks.json"
    path.write_text(json.dumps([attacks.definition("x")]))
    source = changehook.FileSource(path)
    stack.callback(source.close)
    senders = [
        attacks.emitter(*hooks, network=attacks.LOOPBACK),
        attacks.emitter(*to_receiver, network=attacks.LOOPBACK),
        attacks.emitter(*hooks, proxy=PROXY),
        changehook.Emitter(webhooks=source, queue=changehook.ThreadPoolQueue(), proxy=PROXY),
    ]
    for sender in senders[:2]:
        stack.callback(sender.close)
        sender.emit_change("created", "site", attacks.DATA)
    kept = [sender.queue.run() for sender in senders[:2]]
    preview = senders[0].preview("plain", CHANGE)
    echo = Response(status=200, headers=preview.request.headers, body=mark("bearer").encode())
    explained = [sender.explain("created", "site", {"name": "x"}) for sender in senders]
    network = changehook.NetworkPolicy(allow=["h.example"])
    where = changehook.DeliveryFilter(status="failed")
    fault = changehook.Fault("/url", "wrong")
    wanted = deliveries.Decision(status=changehook.DeliveryStatus.FAILED)
    store = changehook.SQLiteStore(folder / "webhooks.db")
    stack.callback(store.close)
    filed = changehook.Emitter(
        webhooks=hooks, queue=changehook.ThreadPoolQueue(store), network=attacks.LOOPBACK
    )
    filed.emit_change("created", "site", attacks.DATA)
    filed.emit_change("created", "site", {**attacks.DATA, "name": mark("data")})
    filed.disable("plain")
    stack.callback(filed.close)
    assert until(lambda: filed.queue.stats().hours)
    figures = [filed.queue.stats(), store.find(where), changehook.Retention(), filed.disabled()]
    senders += [filed]
    words = [preview, echo, explained, network, where, fault, wanted, behaviour, listening]
    return [
        *senders,
        filed,
        filed._terms("plain"),
        kept,
        *figures,
        *words,
        listening.requests,
        demonstrate(),
        CHANGE,
    ]


def test_no_object_shows_a_secret() -> None:
    """No text that Python makes by itself of any object that can be reached."""
    with contextlib.ExitStack() as stack:
        found = everything(stack)
        places = [place for place in objects(*found) if place[0] != "text of Change"]
        assert leaks(places) == []
        walked = {place.rpartition(" ")[2] for place, _ in objects(*found)}
    public = {
        name
        for module in MODULES
        for name in module.__all__
        if inspect.isclass(cls := getattr(module, name))
        if not (issubclass(cls, BaseException) or inspect.isabstract(cls))
        if Protocol not in cls.__bases__
    }
    assert public - walked - {"InspectableQueue", "Queue", "Store", "DeliveryStatus"} == set()


def test_where_secrets_stand_in_the_open() -> None:
    """What has to be sent is held by these classes and no others: no cache, no error, no log."""
    with contextlib.ExitStack() as stack:
        found = {holder.partition(".")[0] for holder in holders(*everything(stack))}
    definitions = {"Webhook", "Program", "HeaderTemplates", "RenderedURL", "Secret", "_Proxy"}
    exchanges = {"Request", "Response", "ReceivedRequest", "Destination"}
    as_rendered = {"Change", "Delivery"}
    # urllib3 keeps the target of the last request with its connection.
    assert found - definitions - exchanges - as_rendered == {"_Connection"}
    assert found >= {"Webhook", "Secret", "Request", "Delivery"}


@pytest.mark.parametrize("secret", SECRETS)
def test_no_secret_is_copied_or_pickled(secret: str) -> None:
    """A definition with a secret does not travel, and what refuses that does not show it."""
    hook = changehook.Webhook(**attacks.definition("x", secret=SECRETS[secret]))
    protocols = range(pickle.HIGHEST_PROTOCOL + 1)
    for copying in (
        copy.deepcopy,
        *(functools.partial(pickle.dumps, protocol=p) for p in protocols),
    ):
        for value in (hook, hook.secret, hook.secret[0]):
            with pytest.raises((TypeError, pickle.PicklingError)) as caught:
                copying(value)
            assert shown(spelled(caught.value)) == []
    assert leaks([("asdict", repr(attrs.asdict(hook)["secret"]))]) == []
    assert attrs.evolve(hook, name="y").secret == hook.secret


# What is asked for


def previews() -> list[Preview]:
    """Return the preview of a webhook of each kind of secret."""
    sender = attacks.emitter(*attacks.webhooks(), transport=RecordingTransport())
    return [sender.preview(name, CHANGE) for name in SECRETS]


def test_a_preview_shows_secrets_only_when_asked() -> None:
    """Nothing in its texts and its document; with ``reveal``, what the request holds."""
    for preview in previews():
        hidden = {**preview.to_dict(), "body": ""}
        assert shown(spelled(preview) + spelled(preview.request) + json.dumps(hidden)) == []
        revealed = set(shown(json.dumps(preview.to_dict(reveal=True))))
        assert revealed == {*SENT, "body"}


def test_a_document_shows_secrets_only_when_asked() -> None:
    """``to_dict`` of a definition hides all, and with ``reveal`` can be read back."""
    for hook in attacks.webhooks():
        assert shown(json.dumps(hook.to_dict())) == []
        revealed = hook.to_dict(reveal=True)
        assert set(shown(json.dumps(revealed))) >= {"path", "query", "bearer", "body"}
        assert changehook.Webhook.from_dict(revealed).url == hook.url


def test_no_explanation_shows_a_secret() -> None:
    """Neither of a webhook that fires nor of one that does not."""
    sender = attacks.emitter(*attacks.webhooks(), transport=RecordingTransport())
    for name in ("x", "y"):
        for explanation in sender.explain("created", "site", {**attacks.DATA, "name": name}):
            assert shown(spelled(explanation) + json.dumps(explanation.to_dict())) == []


COMMANDS = {
    "check": ["check", "{file}"],
    "explain": ["explain", "{file}", "{change}"],
    "render": ["render", "{file}", "{change}"],
    "render one": ["render", "{file}", "{change}", "--webhook", "x"],
    "emit": ["emit", "{file}", "{change}"],
    "emit allowed": ["emit", "{file}", "{change}", "--allow", "127.0.0.1"],
    "faulty": ["check", "{faulty}"],
    "no such webhook": ["render", "{file}", "{change}", "--webhook", "none"],
}


def printed(folder: Path, words: list[str]) -> str:
    """Return what a command prints about files that hold markers."""
    places: list[Place] = []
    with Server(well) as server, terminal(places), contextlib.suppress(SystemExit):
        definition = attacks.definition("x", f"http://127.0.0.1:{server.port}", body_template="")
        change = {"event": "created", "model": "site", "data": attacks.DATA}
        documents = {"file": [definition], "faulty": [{**definition, "x": 1}], "change": change}
        paths = {name: folder / f"{name}.json" for name in documents}
        for name, path in paths.items():
            path.write_text(json.dumps(documents[name]))
        cli.main([word.format(**paths) for word in words])
    return "".join(text for _, text in places)


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_shows_a_secret(command: str, as_json: list[str], tmp_path: Path) -> None:
    """On either stream, in either form. ``render`` shows the body, which is the data here."""
    text = printed(tmp_path, COMMANDS[command] + as_json)
    assert "x" in text
    assert set(shown(text)) <= ({"data"} if command.startswith("render") else set())


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["text", "json"])
def test_a_command_reveals_when_asked(as_json: list[str], tmp_path: Path) -> None:
    """URL and headers; the secret itself is in no request."""
    text = printed(tmp_path, [*COMMANDS["render"], "--reveal", *as_json])
    assert set(shown(text)) == set(SENT)


def test_the_receiver_does_not_print_what_it_verifies_with() -> None:
    """Neither for a signature that holds nor for one that does not."""
    output: list[str] = []
    for secret in (SECRETS["plain"], SECRETS["mixed"][1]):
        behaviour = Behaviour(verify=(secret,))
        with Receiver(port=0, output=output.append, behaviour=behaviour) as listening:
            fields = {"name": "x", "object_types": ["*"], "events": ["*"], "url": listening.url}
            hook = changehook.Webhook(**fields, secret=SECRETS["plain"])
            with attacks.emitter(hook, network=attacks.LOOPBACK) as sender:
                sender.emit_change("created", "site", {})
                sender.queue.run()
    assert ["valid" in text for text in output] == [True, False]
    assert shown("".join(output)) == []


# The detectors themselves


class Leaking:
    """What a library would be caught at."""

    __module__ = "changehook.leaking"

    def __init__(self) -> None:
        self.kept = mark("plain")

    def __repr__(self) -> str:
        return f"Leaking({self.kept})"


def test_the_detectors_find_what_is_planted() -> None:
    """Texts, holders, logs with their arguments and errors, printed text, base64."""
    assert leaks(list(objects([functools.partial(print, Leaking())]))) == ["text of Leaking: plain"]
    assert holders({"x": Leaking()}) == {"Leaking.kept"}
    places: list[Place] = []
    with terminal(places), Witness() as witness:
        print(mark("query"))
        logging.getLogger("urllib3.planted").debug("of %s", ValueError(mark("path")))
        try:
            json.loads(mark("body") + "x")
        except ValueError:
            logging.getLogger("planted").info("", exc_info=True)
    assert leaks(places) == ["standard output: query"]
    found = leaks(witness.places)
    assert any("log of urllib3.planted" in place and "path" in place for place in found)
    assert any("JSONDecodeError.doc" in place and "body" in place for place in found)
    for skip in range(3):
        text = base64.b64encode(b"x" * skip + mark("bearer").encode() + b"yy").decode()
        assert shown(text) == ["bearer"]


def test_a_crash_report_looks_behind_from_none() -> None:
    """The error that was set aside, its document, and variables of frames that are not tests'."""

    def set_aside() -> None:
        try:
            json.loads(mark("body"))
        except ValueError:
            raise ConfigurationError("not JSON") from None

    with pytest.raises(ConfigurationError) as caught:
        set_aside()
    found = leaks(list(crash_report(caught.value)))
    assert any("JSONDecodeError.doc" in place for place in found)
    assert any("variable s of" in place for place in found)
    with pytest.raises(ConfigurationError) as caught:
        hides_locals(set_aside)()
    assert leaks(list(crash_report(caught.value))) == []
