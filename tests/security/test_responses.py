"""Answers meant to hold, bloat, mislead or poison a sender, each met in a process with limits."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from misbehaving import BEHAVIOURS, LIMIT, STEPS, Behaviour, Server, post, steps
from security import attacks_responses
from security.attacks_responses import (
    CUT,
    GOOD,
    HEADER,
    KEPT,
    LATE,
    LONG,
    MALFORMED,
    OWN,
    UNCLEAR,
    Report,
    Result,
    body,
    once,
)
from security.corpus import rows
from security.jail import MIB, Jail

from changehook.errors import AttemptError
from changehook.exchange import Request
from changehook.network import NetworkPolicy
from changehook.transport import HTTPTransport

SHORT = 0.6
SLACK = 5.0  # seconds that a busy machine may add
# What one answer may cost: processor seconds, memory beside the request, and the record that is
# kept: 16 KiB of body, 16 KiB of headers, and the rest.
CPU = 1.0
MEMORY = 16 * MIB
RECORD = 34 * 1024
ERROR = 200

LARGE = 8 * MIB
LARGE_REQUESTS = {"reads_slowly", "early_413_close", "reads_nothing", "reads_only_the_head"}
LONG_ANSWERS = {"early_413_close", "crumbs_of_head", "crumbs_of_body"}  # long, and not the point

# The behaviours that all tests share.
SHARED: dict[str, Result] = {
    "normal": GOOD,
    "infinite_body_no_length": body(b"x" * KEPT, LONG),
    "infinite_body_chunked": body(b"x" * KEPT, LONG),
    "huge_content_length": body(b"x" * KEPT, LONG),
    "drip_body": (200, None, LATE),
    "drip_headers": "timeout",
    "half_headers_then_silent": "timeout",
    "content_encoding_100": GOOD,
    "bad_gzip": body(b"not gzip"),
    "unknown_encoding": GOOD,
    "giant_header_line": "protocol",
    "headers_99x60k": "protocol",
    "one_103": "protocol",
    "switching_101": "protocol",
    "close_mid_headers": "protocol",
    "chunk_garbage": body(b"", MALFORMED),
    "chunk_ext_infinite": body(b"", LONG),
    "chunk_size_underscore": body(b"", MALFORMED),
    "trailers_infinite": body(b"ok", LONG),
    "cl_negative": body(b"", UNCLEAR),
    "garbage_status": "protocol",
    "status_999": "protocol",
    "http2_preface": "protocol",
    "header_no_colon": body(b"", HEADER),
    "header_non_ascii": body(b"", HEADER),
    "redirect_self": (302, b"", None),
    "redirect_infinite_body": (302, b"x" * KEPT, LONG),
    "retry_after_4": (503, b"", None),
    "body_on_204": (204, b"", None),
    "reads_slowly": "timeout",
    "early_413_close": (413, b"no", None),
    "never_answers": "timeout",
    "closes_without_answer": "protocol",
    "resets_without_answer": "protocol",
    "closes_after_status_line": "protocol",
    "drip_status": "timeout",
    "continue_flood": "protocol",
    "continue_drip": "timeout",
    "continue_once": GOOD,
    "http_2_0": "protocol",
    "too_many_headers": "protocol",
    "drip_chunk_size": body(b"first", LATE),
    "drip_chunks": (200, None, LATE),
    "chunk_negative": body(b"", MALFORMED),
    "chunk_huge": body(b"", MALFORMED),
    "cut_body": body(b"first", CUT),
    "cut_chunk": body(b"first", CUT),
    "until_close": body(b"all of it"),
    "error_500": (500, b"trace", None),
    "gone_410": (410, b"", None),
    "folded_header": GOOD,
}


ATTACKS: dict[str, tuple[Behaviour, Result]] = {
    **{name: (BEHAVIOURS[name], result) for name, result in SHARED.items()},
    **OWN,
}


@pytest.fixture(scope="module")
def jail() -> Iterator[Jail]:
    with Jail(cpu=3, memory=256 * MIB) as jail:
        yield jail


@pytest.mark.parametrize("name", ATTACKS)
def test_an_answer_costs_little_and_poisons_nothing(name: str, jail: Jail) -> None:
    """The attempt ends in time with its class and a small record; the next ones get their own."""
    behaviour, expected = ATTACKS[name]
    size = LARGE if name in LARGE_REQUESTS else 2
    seconds = LIMIT if name in LONG_ANSWERS else SHORT
    with Server(once(behaviour)) as server:
        url = f"http://127.0.0.1:{server.port}/"
        outcome = jail.run(attacks_responses.attempt, url, seconds, size)
    assert outcome.error is None, outcome.error
    report: Report = outcome.value
    if isinstance(expected, tuple) and expected[1] is None:
        assert isinstance(report.result, tuple), report
        assert report.result[::2] == expected[::2]
    else:
        assert report.result == expected, report
    assert report.later == [True] * 3
    assert report.seconds < seconds + SLACK
    assert report.size < RECORD
    assert len(report.error) < ERROR
    assert outcome.cpu < CPU
    assert outcome.memory < MEMORY + size


@pytest.mark.parametrize("row", rows("responses.json", "responses"))
def test_every_row_of_the_corpus_is_among_them(row: dict[str, Any]) -> None:
    """No server behaviour of the attack corpus is left out."""
    assert row["name"] in SHARED


def test_all_shared_behaviours_are_among_them() -> None:
    """What other tests use is tried here too."""
    assert SHARED.keys() == BEHAVIOURS.keys()


def test_the_bombs_are_bombs() -> None:
    """What Python can decode of them grows a thousandfold or is a bomb again."""
    found = attacks_responses.bombs()
    assert len(gzip.decompress(gzip.decompress(found["gzip_in_gzip"][1]))) > 1000 * 2048
    for name, wbits in (("gzip", 31), ("deflate", 15), ("deflate_raw", -15)):
        data = found[name][1]
        assert len(zlib.decompress(data, wbits)) > 500 * len(data)


def follow(transport: HTTPTransport, request: Request) -> None:
    """Send a request whose body says how it wants to be answered, and judge the answer."""
    own = request.body
    step = own.decode().partition(" ")[0]
    try:
        response = transport.send(request)
    except AttemptError:
        assert step in ("hints", "garbage")
        return
    assert response.body in (own, own[:-1], b"", b"ok")
    if step in ("well", "chunked", "continue"):
        assert (response.body, response.note) == (own, None)


@settings(max_examples=40)
@given(st.lists(st.sampled_from(sorted(STEPS)), min_size=2, max_size=12))
def test_no_answer_reaches_another_request(names: list[str]) -> None:
    """Whatever the order of bad answers on one transport, each request gets its own or fails."""
    transport = HTTPTransport(network=NetworkPolicy(allow=["127.0.0.1"]))
    with Server(steps) as server:
        url = f"http://127.0.0.1:{server.port}/"
        for number, name in enumerate([*names, "well"]):
            follow(transport, post(url, body=f"{name} {number}".encode()))
        transport.close()


def test_no_answer_reaches_another_thread() -> None:
    """Eight threads that share a transport get good and bad answers, and each its own."""
    transport = HTTPTransport(network=NetworkPolicy(allow=["127.0.0.1"]))
    names = sorted(STEPS)
    with Server(steps) as server, ThreadPoolExecutor(8) as threads:
        url = f"http://127.0.0.1:{server.port}/"
        bodies = [f"{names[number % len(names)]} {number}".encode() for number in range(600)]
        requests = [post(url, body=body) for body in bodies]
        assert len(list(threads.map(lambda one: follow(transport, one), requests))) == 600
        transport.close()
