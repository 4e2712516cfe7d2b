"""Answers meant to hold, bloat, mislead or poison a sender, and what each has to lead to."""

from __future__ import annotations

import gzip
import pickle
import socket
import time
import zlib

import attrs
from misbehaving import (
    CHUNKED,
    MEBIBYTE,
    OK,
    SURPLUS,
    Behaviour,
    Peer,
    answer,
    at_boundary,
    chunked,
    drips,
    echo,
    endless,
    hangs_up,
    many,
    post,
    says,
)

from changehook.errors import AttemptError
from changehook.network import NetworkPolicy
from changehook.transport import HTTPTransport

# An error class; or status, what is kept of the body (None: any), and note.
Result = str | tuple[int, bytes | None, str | None]

KEPT = 16 * 1024
LATER = 8.0  # seconds for a request that nothing is in the way of
LATE = "the deadline passed while the body was read"
LONG = "body longer than 64 KiB; the rest was not read"
CUT = "body cut short"
MALFORMED = "body malformed; the rest was not read"
HEADER = "a malformed header; the body was not read"
UNCLEAR = "the headers do not say where the body ends; it was not read"


def body(kept: bytes, note: str | None = None) -> Result:
    """Return the result of a 200."""
    return 200, kept, note


GOOD = body(b"ok")


def bombs() -> dict[str, tuple[str, bytes]]:
    """Return bombs by name: their Content-Encoding and the few bytes that are sent of each."""
    zeros = bytes(8 * 1024 * 1024)
    packed = gzip.compress(zeros)
    raw = zlib.compressobj(wbits=-15)
    frame = b"\x28\xb5\x2f\xfd\x00\x58"  # zstd: magic, no checksum, a window of 2 MiB
    repeat = ((128 * 1024) << 3 | 1 << 1).to_bytes(3, "little") + b"\0"  # 128 KiB of one byte
    last = (1 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"\0"
    zstd = frame + repeat * 2000 + last
    brotli = bytes.fromhex(  # 64 MiB
        "cfffff7ff82700e2b14020f7fe9ffffffff04f00c4610180eefd3fffffffe19f"
        "0088c32200ddfbfffcffffc73f0110870500baf7ff"
    )
    return {
        "gzip": ("gzip", packed),
        "gzip_in_gzip": ("gzip, gzip", gzip.compress(packed)),
        "gzip_members": ("x-gzip", gzip.compress(bytes(64 * 1024)) * 100),
        "deflate": ("deflate", zlib.compress(zeros)),
        "deflate_raw": ("deflate", raw.compress(zeros) + raw.flush()),
        "brotli": ("br", brotli),
        "zstd": ("zstd", zstd),
        "chain": ("br, zstd, gzip, deflate, " * 9 + "identity", gzip.compress(zstd)),
        "two_headers": ("gzip\r\nContent-Encoding: br", packed),
    }


def _bombs() -> dict[str, tuple[Behaviour, Result]]:
    found: dict[str, tuple[Behaviour, Result]] = {}
    for name, (coding, data) in bombs().items():
        header = f"Content-Encoding: {coding}"
        head = answer("200 OK", b"", header, "Transfer-Encoding: chunked", length=False)
        found[f"bomb_{name}"] = says(answer("200 OK", data, header)), body(data[:KEPT])
        found[f"bomb_{name}_chunked"] = says(head + chunked(data)), body(data[:KEPT])
    return found


def _framed(*headers: str, data: bytes = b"ok") -> Behaviour:
    return says(answer("200 OK", data, *headers, length=False))


# Headers that say badly where the body ends.
UNCLEAR_HEADERS: dict[str, tuple[str, ...]] = {
    "chunked_and_length": ("Transfer-Encoding: chunked", "Content-Length: 2"),
    "length_and_chunked": ("Content-Length: 2", "Transfer-Encoding: chunked"),
    "te_gzip_chunked": ("Transfer-Encoding: gzip, chunked",),
    "te_chunked_gzip": ("Transfer-Encoding: chunked, gzip",),
    "te_identity": ("Transfer-Encoding: identity",),
    "te_identity_and_length": ("Transfer-Encoding: identity", "Content-Length: 2"),
    "te_unknown": ("Transfer-Encoding: xchunked", "Content-Length: 2"),
    "te_twice": ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "te_list_twice": ("Transfer-Encoding: chunked, chunked",),
    "te_empty": ("Transfer-Encoding:", "Content-Length: 2"),
    "te_parameter": ("Transfer-Encoding: chunked;q=1",),
    "te_quoted": ('Transfer-Encoding: "chunked"', "Content-Length: 2"),
    "two_lengths": ("Content-Length: 2", "Content-Length: 3"),
    "two_lengths_in_one": ("Content-Length: 2, 2",),
    "length_plus": ("Content-Length: +2",),
    "length_minus_zero": ("Content-Length: -0",),
    "length_minus_huge": (f"Content-Length: -{'9' * 40}",),
    "length_huge": (f"Content-Length: {'9' * 5000}",),
    "length_hex": ("Content-Length: 0x2",),
    "length_underscore": ("Content-Length: 0_2",),
    "length_point": ("Content-Length: 2.0",),
    "length_exponent": ("Content-Length: 2e0",),
    "length_space": ("Content-Length: 2 2",),
    "length_empty": ("Content-Length:",),
    "length_word": ("Content-Length: two",),
    "length_superscript": ("Content-Length: \u00b2",),
    "length_full_width": ("Content-Length: " + "\uff12".encode().decode("latin-1"),),
    "length_folded": ("Content-Length: 2\r\n 2",),
    "length_no_break_space": ("Content-Length: \u00a02",),
}

# Header lines that are no header lines.
MALFORMED_HEADERS = {
    "name_with_space": "X Y: 1",
    "space_before_colon": "Content-Length : 3",
    "tab_before_colon": "Transfer-Encoding\t: chunked",
    "empty_name": ": 1",
    "nul_in_name": "X\0Y: 1",
    "nul_in_value": "X: 1\0002",
    "escape_in_value": "X: \x1b[2J",
    "delete_in_value": "X: \x7f",
    "vertical_tab_in_value": "Transfer-Encoding: \x0bchunked",
    "carriage_return_in_value": "X: 1\rContent-Length: 0",
    "carriage_return_in_name": "X\r: 1",
    "fold_of_nothing": " folded: 1",
    "name_in_quotes": '"X": 1',
    "non_ascii_name": "X\u00e9: 1",
    "status_line_again": "HTTP/1.1 500 No",
}

CHUNKS: dict[str, tuple[bytes, Result]] = {
    "hex_prefix": (b"0x2\r\nok\r\n0\r\n\r\n", body(b"", MALFORMED)),
    "plus": (b"+2\r\nok\r\n0\r\n\r\n", body(b"", MALFORMED)),
    "minus_zero": (b"-0\r\n\r\n", body(b"", MALFORMED)),
    "leading_space": (b" 2\r\nok\r\n0\r\n\r\n", body(b"", MALFORMED)),
    "trailing_space": (b"2 \r\nok\r\n0\r\n\r\n", GOOD),
    "leading_zeros": (b"0002\r\nok\r\n000\r\n\r\n", GOOD),
    "upper_case": (b"A\r\n0123456789\r\n0\r\n\r\n", body(b"0123456789")),
    "many_zeros": (b"0" * 40 + b"2\r\nok\r\n0\r\n\r\n", body(b"", MALFORMED)),
    "huge": (b"f" * 15 + b"\r\nok", (200, b"ok", LATE)),
    "overflow": (b"1" + b"0" * 16 + b"\r\nok\r\n0\r\n\r\n", body(b"", MALFORMED)),
    "empty_size": (b"\r\nok\r\n0\r\n\r\n", body(b"", MALFORMED)),
    "extension": (b'2;a="b;c"\r\nok\r\n0;x\r\n\r\n', GOOD),
    "extension_only": (b";a=b\r\nok\r\n0\r\n\r\n", body(b"", MALFORMED)),
    "extension_100_kb": (b"2;" + b"x" * 100_000 + b"\r\nok\r\n0\r\n\r\n", body(b"", LONG)),
    "extension_with_carriage_return": (b"2;\rok\r\n0\r\n\r\n", body(b"", MALFORMED)),
    "extension_with_line_feed": (b"2;a\nok\r\n0\r\n\r\n", body(b"", MALFORMED)),
    "line_feeds": (b"2\nok\n0\n\n", body(b"", MALFORMED)),
    "carriage_returns": (b"2\rok\r0\r\r", (200, b"", LATE)),
    "no_end": (b"2\r\nokXX0\r\n\r\n", body(b"ok", MALFORMED)),
    "longer_than_told": (b"2\r\nokokok\r\n0\r\n\r\n", body(b"ok", MALFORMED)),
    "full_width": ("\uff12".encode() + b"\r\nok\r\n0\r\n\r\n", body(b"", MALFORMED)),
    "decimal_letters": (b"2g\r\nok\r\n0\r\n\r\n", body(b"", MALFORMED)),
    "list": (b"2,2\r\nok\r\n0\r\n\r\n", body(b"", MALFORMED)),
    "trailers": (b"2\r\nok\r\n0\r\nContent-Length: 9\r\nX: 1\r\n\r\n", GOOD),
    "one_by_one": (b"1\r\nx\r\n" * 9000 + b"0\r\n\r\n", body(b"x" * 9000)),
    "surplus": (b"2\r\nok\r\n0\r\n\r\n" + SURPLUS, GOOD),
    "surplus_size": (b"2\r\nok\r\n0\r\n\r\n0\r\n\r\n", GOOD),
    "200_000_by_one": (b"1\r\nx\r\n" * 200_000 + b"0\r\n\r\n", (200, None, LONG)),
}

# First bytes of an answer that are no status line of HTTP/1.
NOT_HTTP = {
    "http_2": b"HTTP/2 200\r\n\r\n",
    "http_0_9_line": b"HTTP/0.9 200 OK\r\n\r\n",
    "http_0_9_body": b"<html>ok</html>\r\n\r\n",
    "http_11": b"HTTP/11 200 OK\r\n\r\n",
    "http_1_10": b"HTTP/1.10 200 OK\r\n\r\n",
    "http_1": b"HTTP/1 200 OK\r\n\r\n",
    "http_1_x": b"HTTP/1.x 200 OK\r\n\r\n",
    "lower_case": b"http/1.1 200 OK\r\n\r\n",
    "four_digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "two_digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "leading_zero": b"HTTP/1.1 0200 OK\r\n\r\n",
    "below_100": b"HTTP/1.1 099 OK\r\n\r\n",
    "zero": b"HTTP/1.1 000 OK\r\n\r\n",
    "minus": b"HTTP/1.1 -200 OK\r\n\r\n",
    "plus": b"HTTP/1.1 +200 OK\r\n\r\n",
    "underscore": b"HTTP/1.1 2_00 OK\r\n\r\n",
    "full_width": "HTTP/1.1 \uff1200 OK\r\n\r\n".encode(),
    "superscript": b"HTTP/1.1 \xb200 OK\r\n\r\n",
    "huge_number": b"HTTP/1.1 " + b"2" * 5000 + b" OK\r\n\r\n",
    "no_number": b"HTTP/1.1 OK\r\n\r\n",
    "no_space": b"HTTP/1.1 200OK\r\n\r\n",
    "two_spaces": b"HTTP/1.1  200 OK\r\n\r\n",
    "tab": b"HTTP/1.1\t200\tOK\r\n\r\n",
    "no_break_space": b"HTTP/1.1\xa0200 OK\r\n\r\n",
    "carriage_return": b"HTTP/1.1 200 OK\rX: 1\r\n\r\n",
    "nul": b"HTTP/1.1 200 \0\r\n\r\n",
    "space_first": b" HTTP/1.1 200 OK\r\n\r\n",
    "blank_line_first": b"\r\nHTTP/1.1 200 OK\r\n\r\n",
    "blank_lines": b"\r\n" * 50_000,
    "byte_order_mark": b"\xef\xbb\xbfHTTP/1.1 200 OK\r\n\r\n",
    "utf_16": "HTTP/1.1 200 OK\r\n\r\n".encode("utf-16"),
    "request": b"GET / HTTP/1.1\r\n\r\n",
    "icy": b"ICY 200 OK\r\n\r\n",
    "rtsp": b"RTSP/1.0 200 OK\r\n\r\n",
    "ssh": b"SSH-2.0-OpenSSH_9.6\r\n",
    "smtp": b"220 mail.test ESMTP\r\n",
    "redis": b"-ERR unknown command 'POST'\r\n",
    "tls_alert": b"\x15\x03\x01\x00\x02\x02\x28\n",
    "ones": b"\xff" * 100_000,
    "nuls": bytes(100_000),
    "no_line": b"A" * 1_000_000,
}

INTERIM = {
    "102_then_200": b"HTTP/1.1 102 Processing\r\n\r\n" + answer(),
    "102_flood": b"HTTP/1.1 102 Processing\r\n\r\n" * 1000 + answer(),
    "103_flood": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 1000 + answer(),
    "199": b"HTTP/1.1 199 Perhaps\r\n\r\n" + answer(),
    "101_then_garbage": b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x05hello",
    "100_with_body": b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nhello" + answer(),
    "100_with_chunks": b"HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n"
    + chunked(b"hello")
    + answer(),
    "100_then_103": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + answer(),
    "100_with_many_headers": b"HTTP/1.1 100 Continue\r\n" + b"X: 1\r\n" * 101 + b"\r\n" + answer(),
}


def _answers_unasked(peer: Peer) -> None:
    peer.send(answer())
    peer.read_request()
    echo(peer)


def _half_closes(peer: Peer) -> None:
    peer.read_request()
    peer.send(OK + b"\r\nall of it")
    peer.sock.shutdown(socket.SHUT_WR)
    peer.silence()


def _reads_nothing(peer: Peer) -> None:
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    peer.silence()


def _reads_only_the_head(peer: Peer) -> None:
    peer.sock.recv(200)
    peer.send(answer("100 Continue", b"", length=False))
    peer.silence()


OTHERS: dict[str, tuple[Behaviour, Result]] = {
    # Heads that are good, or good enough.
    "length_twice_the_same": (_framed("Content-Length: 2", "Content-Length: 2"), GOOD),
    "length_zeros": (_framed("Content-Length: 0002"), GOOD),
    "length_folded_away": (_framed("Content-Length:\r\n 2"), GOOD),
    "te_upper_case": (_framed("Transfer-Encoding: CHUNKED", data=chunked(b"ok")), GOOD),
    "line_feeds_in_head": (says(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"), GOOD),
    "no_reason": (says(b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"), GOOD),
    "empty_reason": (says(b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok"), GOOD),
    "reason_60_kb": (says(answer("200 " + "y" * 60_000)), GOOD),
    "reason_80_kb": (says(answer("200 " + "y" * 80_000)), "protocol"),
    "http_1_0": (says(b"HTTP/1.0 200 OK\r\n\r\nok", then=hangs_up), GOOD),
    "http_1_0_keeps": (
        says(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"),
        GOOD,
    ),
    "http_1_9": (says(b"HTTP/1.9 200 OK\r\nContent-Length: 2\r\n\r\nok"), GOOD),
    "multipart": (_framed("Content-Type: multipart/x; boundary=y", "Content-Length: 2"), GOOD),
    "message": (_framed("Content-Type: message/rfc822", "Content-Length: 2"), GOOD),
    # Heads that take parsers long.
    "semicolons": (
        _framed('Content-Type: multipart/x; "' + ";" * 60_000, "Content-Length: 2"),
        GOOD,
    ),
    "spaces_60_kb": (_framed("X: a" + " " * 60_000 + "b", "Content-Length: 2"), GOOD),
    "tabs_60_kb": (_framed("X: " + "\t" * 60_000, "Content-Length: 2"), GOOD),
    "folds_99": (_framed("X: a" + ("\r\n" + " " * 600) * 98, "Content-Length: 2"), GOOD),
    "folds_10_000": (_framed("X: a" + "\r\n b" * 10_000, "Content-Length: 2"), "protocol"),
    "folds_endless": (says(OK + b"X: a\r\n", then=endless(b" b\r\n" * 1000)), "protocol"),
    "commas": (_framed("Connection: " + "," * 60_000, "Content-Length: 2"), GOOD),
    "headers_100_000": (says(many(b"X: 1\r\n", 100_000)), "protocol"),
    "headers_endless": (says(OK, then=endless(b"X: 1\r\n" * 1000)), "protocol"),
    "headers_99_of_600": (says(many(b"X-%b: 1\r\n" % (b"y" * 600), 98)), GOOD),
    "name_60_kb": (_framed("X" * 60_000 + ": 1", "Content-Length: 2"), GOOD),
    # Bodies where there is none, and endings.
    "204_chunked": (
        says(answer("204 No", b"", "Transfer-Encoding: chunked", length=False) + chunked(SURPLUS)),
        (204, b"", None),
    ),
    "204_and_surplus": (
        says(answer("204 No Content", b"", length=False) + SURPLUS),
        (204, b"", None),
    ),
    "204_endless": (
        says(answer("204 No Content", b"", length=False), then=endless(MEBIBYTE)),
        (204, b"", None),
    ),
    "205_with_body": (says(answer("205 Reset Content", b"ok")), (205, b"ok", None)),
    "304_with_body": (says(answer("304 Not Modified", b"ok")), (304, b"", None)),
    "600": (says(answer("600 Beyond")), "protocol"),
    "answers_unasked": (_answers_unasked, GOOD),
    "half_closes": (_half_closes, body(b"all of it")),
    "closes_in_length": (says(answer("200 OK", b"ok", length=False), then=hangs_up), GOOD),
    "closes_before_body": (says(OK + b"Content-Length: 9\r\n\r\n", then=hangs_up), body(b"", CUT)),
    "closes_in_chunk_size": (says(CHUNKED + b"2", then=hangs_up), body(b"", MALFORMED)),
    "closes_after_chunk": (says(CHUNKED + b"2\r\nok\r\n", then=hangs_up), body(b"ok", CUT)),
    "closes_in_trailers": (
        says(CHUNKED + b"2\r\nok\r\n0\r\nX: 1\r\n", then=hangs_up),
        body(b"ok", CUT),
    ),
    "resets_in_head": (says(OK + b"X: 1", then=Peer.reset), "protocol"),
    "resets_in_body": (
        says(OK + b"Content-Length: 9\r\n\r\nok", then=Peer.reset),
        (200, None, CUT),
    ),
    "surplus": (says(answer() + SURPLUS), GOOD),
    "surplus_many": (says(answer() + SURPLUS * 1000), GOOD),
    "surplus_half": (says(answer() + SURPLUS[:20]), GOOD),
    "surplus_blank": (says(answer() + b"\r\n"), GOOD),
    "surplus_at_boundary": (says(at_boundary(SURPLUS)), GOOD),
    "surplus_over_boundary": (says(at_boundary(b"")[:-2] + b"okHT" + SURPLUS[2:]), GOOD),
    "length_too_small": (says(OK + b"Content-Length: 2\r\n\r\nok" + SURPLUS), GOOD),
    "length_0_and_body": (says(OK + b"Content-Length: 0\r\n\r\n" + SURPLUS), body(b"")),
    "no_length_and_surplus": (
        says(OK + b"Connection: keep-alive\r\n\r\n" + SURPLUS),
        body(SURPLUS, LATE),
    ),
    # Quick, and byte by byte.
    "crumbs_of_head": (
        says(OK + b"X: ", then=lambda peer: peer.drip(b"y" * 90_000, 0)),
        "protocol",
    ),
    "crumbs_of_body": (
        says(OK + b"\r\n", then=lambda peer: peer.drip(b"y" * 90_000, 0)),
        (200, None, LONG),
    ),
    # Slow ones.
    "reads_nothing": (_reads_nothing, "timeout"),
    "reads_only_the_head": (_reads_only_the_head, "timeout"),
    "drip_header_lines": (says(OK, then=drips(b"X-Y: 1\r\n")), "timeout"),
    "drip_reason": (says(b"HTTP/1.1 200 ", then=drips(b"y")), "timeout"),
    "drip_interim": (says(b"HTTP/1.1 100 Continue\r\nX: ", then=drips(b"y")), "timeout"),
    "drip_folds": (says(OK + b"X: 1\r\n", then=drips(b" ")), "timeout"),
    "drip_last_line": (says(answer()[:-4], then=drips(b"\r")), "timeout"),
    "drip_until_close": (says(OK + b"\r\n", then=drips(b"x")), (200, None, LATE)),
    "drip_extension": (says(CHUNKED + b"2;", then=drips(b"x")), body(b"", LATE)),
    "drip_chunk_end": (says(CHUNKED + b"2\r\nok", then=drips(b"\r")), body(b"ok", LATE)),
    "drip_trailer": (says(CHUNKED + b"2\r\nok\r\n0\r\nX: ", then=drips(b"x")), body(b"ok", LATE)),
    "stops_in_body": (says(OK + b"Content-Length: 9\r\n\r\nok"), body(b"ok", LATE)),
}

OWN: dict[str, tuple[Behaviour, Result]] = {
    **_bombs(),
    **{
        f"unclear_{name}": (_framed(*headers, data=chunked(b"ok") + SURPLUS), body(b"", UNCLEAR))
        for name, headers in UNCLEAR_HEADERS.items()
    },
    **{
        f"header_{name}": (_framed(line, "Content-Length: 2"), body(b"", HEADER))
        for name, line in MALFORMED_HEADERS.items()
    },
    **{f"chunk_{name}": (says(CHUNKED + data), result) for name, (data, result) in CHUNKS.items()},
    **{f"status_{name}": (says(data), "protocol") for name, data in NOT_HTTP.items()},
    **{f"interim_{name}": (says(data), "protocol") for name, data in INTERIM.items()},
    **OTHERS,
}


def once(behaviour: Behaviour) -> Behaviour:
    """Return what behaves so on its first connection, and as it should on all others."""
    return lambda peer: behaviour(peer) if peer.number == 1 else echo(peer)


@attrs.frozen
class Report:
    """What a sender made of an answer, and of those to its next requests.

    Args:
        result: an error class; or status, what is kept of the body, and note.
        error: the words of the error.
        seconds: until the first attempt ended.
        size: of the record of the answer.
        later: whether each of the next requests got the answer to itself.
    """

    result: Result
    error: str
    seconds: float
    size: int
    later: list[bool]


def attempt(url: str, seconds: float, size: int = 2, ca_file: str | None = None) -> Report:
    """Send a request and then three more by the same transport, each with words of its own."""
    network = NetworkPolicy(allow=["127.0.0.1"])
    transport = HTTPTransport(network=network, resolver=lambda host, port: ["127.0.0.1"])
    request = post(url, timeout=seconds, body=b"x" * size, ca_file=ca_file)
    result: Result
    record, error = 0, ""
    began = time.monotonic()
    try:
        response = transport.send(request)
        result = response.status, response.body, response.note
        record = len(pickle.dumps(response))
    except AttemptError as caught:
        result, error = caught.error_class, str(caught)
    ended = time.monotonic()
    later = [own.encode() == _body_of(transport, url, own, ca_file) for own in ("1", "two", "333")]
    transport.close()
    return Report(result, error, ended - began, record, later)


def _body_of(transport: HTTPTransport, url: str, own: str, ca_file: str | None) -> bytes:
    request = post(url, body=own.encode(), ca_file=ca_file, timeout=LATER)
    return transport.send(request).body
