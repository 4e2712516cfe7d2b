"""The command line: argument parsing and printing only."""

from __future__ import annotations

import argparse
import collections
import contextlib
import importlib.metadata
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from changehook.arguments import (
    ALLOW,
    FILE,
    Add,
    Parser,
    command,
    count,
    located,
    network_of,
    of_options,
    size,
)
from changehook.cli_queue import add_queue
from changehook.cli_ui import add_ui
from changehook.cli_worker import add_worker
from changehook.deliveries import Delivery, DeliveryStatus
from changehook.demo import demonstrate, request_document
from changehook.emitter import Emitter
from changehook.encoding import decode_strict
from changehook.errors import (
    AttemptError,
    ChangehookError,
    ConfigurationError,
    Fault,
    hides_locals,
)
from changehook.models import Change
from changehook.printing import DONE, INTERRUPTED, NO, WRONG_USAGE, answer, complain, put_out
from changehook.queues.memory import InMemoryQueue
from changehook.receiver import Behaviour, ReceivedRequest, Receiver
from changehook.retries import RetryPolicy
from changehook.sources import load_webhooks
from changehook.webhooks import Webhook

__all__ = ["main"]

SHOWN_RESPONSE = 200
ANSWER_TIME = 2.0
DRIP_TIME = 600.0
ONCE = RetryPolicy(schedule=(0,))

_OnRequest = Callable[[ReceivedRequest], None]


@hides_locals
def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after ``changehook``; None for those of this process.

    Returns:
        the exit code: 0 done, 1 the answer is no, 2 wrong usage, 130 stopped by CONTROL-C.

    Raises:
        SystemExit: help or the version was asked for (0), or the words are wrong (2).
    """
    try:
        options = _parser().parse_args(argv)
    except SystemExit as left:
        raise SystemExit(left.code) from None
    try:
        code: int = options.run(options)
    except ChangehookError as error:
        complain(str(error))
        return WRONG_USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read has left. Without this, the flush at exit fails as well and says so.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO
    return code


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="changehook",
        description="Outgoing webhooks: try them, check them, and see why one did not fire.",
        epilog="Exit codes: 0 done, 1 the answer is no, 2 wrong usage.",
        allow_abbrev=False,
    )
    version = importlib.metadata.version("changehook")
    parser.add_argument("--version", action="version", version=f"changehook {version}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_behaviour(command(commands, _receiver))
    command(commands, _demo)
    command(commands, _check)("file", metavar="FILE", help=FILE)
    _add_change(command(commands, _explain))
    add = _add_change(command(commands, _render))
    add("--reveal", action="store_true", help="hide nothing; this may show secrets")
    add = _add_change(command(commands, _emit))
    add("--allow", metavar="NETWORK", action="append", default=[], help=ALLOW)
    add("--timeout", metavar="SECONDS", type=float, help="for an attempt, in place of FILE's")
    add_queue(commands)
    add_worker(commands)
    add_ui(commands)
    return parser


def _add_change(add: Add) -> Add:
    add("file", metavar="FILE", help=FILE)
    form = "a JSON file in the form of the default body; - for standard input"
    add("change", metavar="CHANGE", help=form)
    add("--webhook", metavar="NAME", help="only the webhook of this name")
    return add


def _add_behaviour(add: Add) -> None:
    verify = "say whether a request is signed with SECRET, or env:NAME; may be repeated"
    add("--host", default="127.0.0.1", help="where to listen (127.0.0.1)")
    add("--port", type=int, default=9000, help="the port; 0 for any free one (9000)")
    add("--verify", metavar="SECRET", action="append", default=[], help=verify)
    add("--respond", metavar="STATUS", type=int, default=200, help="answer so (200)")
    add("--delay", metavar="SECONDS", type=float, default=0.0, help="wait before the answer")
    add("--drip", action="store_true", help="send the head of the answer one byte a second")
    add("--reset", action="store_true", help="break the connection off instead of answering")
    add("--retry-after", metavar="SECONDS", help="send Retry-After: seconds, or a date")
    add("--redirect", metavar="URL", help="answer 302 with this Location")
    add("--big", metavar="SIZE", type=size, default=0, help="answer with a body of, say, 10MB")
    add("--count", metavar="N", type=count, help="stop after N requests")


def _receiver(options: argparse.Namespace) -> int:
    """Print every request that is sent to this machine.

    Shows its headers and body and answers 200, or misbehaves as told. CONTROL-C stops it.
    With --json, each request is one line of JSON.

    example: changehook receiver --port 9000 --verify env:HOOK_SECRET --respond 503
    """
    reached = threading.Event()
    answering: collections.deque[threading.Thread] = collections.deque(maxlen=256)

    def on_request(request: ReceivedRequest) -> None:
        if options.json:
            put_out(json.dumps(request_document(request)))
        answering.append(threading.current_thread())
        if request.number == options.count:
            reached.set()

    with _listening(options, on_request) as receiver, contextlib.suppress(KeyboardInterrupt):
        put_out(receiver.banner, sys.stderr if options.json else None)
        reached.wait()
        # A thread ends with its connection, once the answer is out; one kept alive may not end.
        give_up = time.monotonic() + options.delay + (DRIP_TIME if options.drip else ANSWER_TIME)
        for thread in list(answering):
            thread.join(max(0.0, give_up - time.monotonic()))
    return DONE


def _listening(options: argparse.Namespace, on_request: _OnRequest) -> Receiver:
    fields = attrs.fields_dict(Behaviour)
    given = {key: value for key, value in vars(options).items() if key in fields}
    where: dict[str, Any] = {"host": options.host, "port": options.port}
    silent: dict[str, Any] = {"output": lambda text: None} if options.json else {}
    try:
        options.host.encode("idna")  # as socket.bind does, which says only TypeError
        return Receiver(**where, **silent, behaviour=Behaviour(**given), on_request=on_request)
    except ConfigurationError as error:
        raise of_options(error) from None
    except UnicodeError:
        raise ConfigurationError("--host: expected an address or a host name") from None


def _demo(options: argparse.Namespace) -> int:
    """Show webhooks at work on this machine.

    Starts a receiver on a free port, defines three webhooks, emits two changes, and shows what
    arrived and why one webhook did not fire. Needs no network. Exit code 1: something went wrong.

    example: changehook demo
    """
    demo = demonstrate()
    answer(options, demo.to_dict(), str(demo))
    return NO if demo.problems else DONE


def _check(options: argparse.Namespace) -> int:
    """Say whether a file of webhooks is valid.

    Prints every fault with its place as a JSON pointer; or, when there is none, the webhooks and
    which of them are disabled. Sends nothing. Exit code 1: the file is not valid.

    example: changehook check webhooks.toml
    """
    try:
        webhooks = [webhook.to_dict() for webhook in load_webhooks(options.file)]
    except ConfigurationError as error:
        faults = [attrs.asdict(fault) for fault in error.faults]
        answer(options, {"valid": False, "faults": faults, "webhooks": []}, "")
        complain(str(located(options.file, error)))
        return NO
    head = f"{options.file}: valid, webhooks: {len(webhooks)}"
    document = {"valid": True, "faults": [], "webhooks": webhooks}
    answer(options, document, "\n".join([head, *map(_row, webhooks)]))
    return DONE


def _row(webhook: dict[str, Any]) -> str:
    what = f"{', '.join(webhook['events'])} of {', '.join(webhook['object_types'])}"
    state = "" if webhook["enabled"] else " (disabled)"
    return f"  {webhook['name']}{state}: {what}, {webhook['http_method']} {webhook['url']}"


def _explain(options: argparse.Namespace) -> int:
    """Say which webhooks a change fires, and why not.

    Shows the conditions as a tree with verdicts. Sends nothing. Exit code 1: none fires.

    example: changehook explain webhooks.toml change.json --webhook slack
    """
    emitter, change = _prepared(options)
    explanations = emitter.explain(**attrs.asdict(change, recurse=False))
    fires = any(each.fires for each in explanations)
    document = {"fires": fires, "webhooks": [each.to_dict() for each in explanations]}
    answer(options, document, "\n".join(map(_explained, explanations)))
    return DONE if fires else NO


def _render(options: argparse.Namespace) -> int:
    """Show the request that each webhook would send.

    Whether the change fires it or not: method, URL, headers, signatures and body. Sends nothing.
    Hides path and query of URLs and most header values. Exit code 1: a request cannot be made.

    example: changehook render webhooks.toml change.json --webhook slack --reveal
    """
    emitter, change = _prepared(options)
    names = [webhook.name for webhook in emitter.webhooks.all()]
    rendered = [_rendered(emitter, name, change, options.reveal) for name in names]
    answer(options, {"webhooks": rendered}, "\n".join(map(_shown, rendered)))
    return DONE if rendered and not any(each["error"] for each in rendered) else NO


def _rendered(emitter: Emitter, name: str, change: Change, reveal: bool) -> dict[str, Any]:
    try:
        request = emitter.preview(name, change).to_dict(reveal=reveal)
    except AttemptError as error:
        return {"webhook": name, "error": f"{error.error_class}: {error}", "request": None}
    return {"webhook": name, "error": None, "request": request}


def _shown(rendered: dict[str, Any]) -> str:
    if rendered["error"]:
        return f"{rendered['webhook']}: {rendered['error']}\n------------"
    request = rendered["request"]
    headers = [f"{name}: {value}" for name, value in request["headers"].items()]
    head = f"{rendered['webhook']}: {request['method']} {request['url']}"
    return "\n".join([head, *headers, "", request["body"], "------------"])


def _emit(options: argparse.Namespace) -> int:
    """Really send a change to the webhooks that it fires.

    Makes one attempt each, without retries, and shows what the receivers answered. Calls public
    addresses only, unless --allow opens others. Exit code 1: not all delivered, or none fired.

    example: changehook emit webhooks.toml change.json --allow 127.0.0.1 --timeout 5
    """
    queue = InMemoryQueue()
    emitter, read = _prepared(options, queue)
    change = attrs.asdict(read, recurse=False)
    with emitter:
        explanations = emitter.explain(**change)
        emitter.emit_change(**change)
        deliveries = queue.run()
    fired, sent = [each.to_dict() for each in explanations], list(map(_sent, deliveries))
    how = "One attempt each, nothing is retried:" if deliveries else "Nothing is sent."
    text = "\n".join([*map(_explained, explanations), "", how, *map(_outcome, deliveries)])
    answer(options, {"webhooks": fired, "deliveries": sent}, text)
    delivered = [each.status is DeliveryStatus.DELIVERED for each in deliveries]
    return DONE if delivered and all(delivered) else NO


def _sent(delivery: Delivery) -> dict[str, Any]:
    attempt = delivery.attempts[-1].to_dict()
    attempt["response_body"] = attempt["response_body"][:SHOWN_RESPONSE]
    head = {"id": delivery.id, "webhook": delivery.webhook, "status": str(delivery.status)}
    return {**head, "attempt": attempt}


def _outcome(delivery: Delivery) -> str:
    attempt = delivery.attempts[-1]
    outcome = f"{attempt.method} {attempt.url} answered with {attempt.status}"
    if attempt.error_class:
        outcome = f"{attempt.error_class}: {attempt.error}"
    lines = [f"{delivery.webhook}: {delivery.status}, {outcome}"]
    if attempt.error_class == "blocked":
        lines.append("what opens it here is --allow with that address")
    if attempt.note:
        lines.append(f"note: {attempt.note}")
    if attempt.response_body:
        response = attempt.response_body[:SHOWN_RESPONSE].replace("\n", "\\n")
        lines.append(f"response: {response}")
    return "\n  ".join(lines)


def _prepared(
    options: argparse.Namespace, queue: InMemoryQueue | None = None
) -> tuple[Emitter, Change]:
    """Return an emitter of the chosen webhooks that makes one attempt each, and the change."""
    webhooks = _chosen(options)
    change, added = _change(options.change)
    timeout = getattr(options, "timeout", None)
    policy = {"retry": ONCE} if timeout is None else {"retry": ONCE, "timeout": timeout}
    network = network_of(getattr(options, "allow", []))
    try:
        once = [attrs.evolve(each, **policy) for each in webhooks]
    except ConfigurationError as error:
        raise of_options(error) from None
    emitter = Emitter(
        webhooks=once,
        queue=queue or InMemoryQueue(),
        network=network,
        context_providers=[] if added is None else [lambda _: added],
    )
    return emitter, change


def _chosen(options: argparse.Namespace) -> list[Webhook]:
    try:
        webhooks = load_webhooks(options.file)
    except ConfigurationError as error:
        raise located(options.file, error) from None
    wanted = options.webhook
    found = [each for each in webhooks if wanted is None or each.name == wanted]
    if not found:
        names = ", ".join(each.name for each in webhooks) or "none"
        sought = "nothing found" if wanted is None else f'no webhook is named "{wanted}"'
        complain(f"{sought}; the webhooks of {options.file} are: {names}")
    return found


def _change(path: str) -> tuple[Change, Mapping[str, Any] | None]:
    """Return the change of a file, and what stands there under ``context``."""
    where = "stdin" if path == "-" else path
    try:
        text = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        document = decode_strict(text)
        change, added = Change.from_dict(document), document.get("context")
        if not isinstance(added, Mapping | None):
            raise ConfigurationError(Fault("/context", "expected an object"))
        return change, added
    except OSError as error:
        raise ConfigurationError(f"{where}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{where}: not JSON ({error})") from None
    except ConfigurationError as error:
        raise located(where, error) from None


def _explained(explanation: object) -> str:
    return str(explanation).replace("\n", "\n  ")
