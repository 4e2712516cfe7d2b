"""What a receiver answers, read by the letter and within bounds."""

from __future__ import annotations

import http
import http.client
import re
from collections.abc import Iterator
from typing import Any

from changehook.errors import DeadlineError, ProtocolError
from changehook.exchange import KEPT_BODY, SAFE_HEADERS
from changehook.sockets import BODY_LIMIT, DeadlineSocket, Limits, Phase

__all__ = ["Answer", "kept_headers", "read_body"]

KEPT_HEADERS = 16 * 1024
MAX_HEADERS = 100
PIECE = 8 * 1024
MALFORMED_HEADER = "a malformed header; the body was not read"
LONG_BODY = "body longer than 64 KiB; the rest was not read"
UNCLEAR_END = "the headers do not say where the body ends; it was not read"

_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: [^\r\n\0]*)?")
_FOLD = re.compile(rb"\n[ \t]+")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\0-\x08\n-\x1f\x7f]*)")
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n\0]*)?\r\n")


class Answer(http.client.HTTPResponse):
    """A response that is read by the letter of RFC 9112.

    The connection is used again: where two readers could see different ends, ``defect`` says so,
    and the body is not read. The parsers of ``http.client`` guess, and take seconds for some heads.
    """

    def __init__(self, sock: DeadlineSocket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self._limits = sock.limits
        self._taken = 0
        self.fields: dict[str, list[str]] = {}
        self.defect: str | None = None

    def begin(self) -> None:
        """Read the head of the answer, which is the first one that is not ``100 Continue``."""
        self.status = http.HTTPStatus.CONTINUE
        while self.status == http.HTTPStatus.CONTINUE:
            found = self._line()
            line = _STATUS_LINE.fullmatch(found)
            if line is None:
                kind = "a malformed status line" if found.startswith(b"HTTP/1.") else "no HTTP/1"
                raise ProtocolError(f"{self._limits.where} answered with {kind}")
            self.version, self.status = 10 + int(line[1]), int(line[2])
            self._read_fields()
        self._find_end()

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it comes, not decoded.

        Raises:
            EOFError: it is cut short.
            ValueError: it is malformed.
        """
        if self.chunked:
            while size := self._chunk_size():
                yield from self._span(size)
                if self._raw_line() != b"\r\n":
                    raise ValueError
            while self._line():
                pass
        elif self.length is None:
            while piece := self._some(PIECE):
                yield piece
        else:
            yield from self._span(self.length)

    def is_all(self, sock: DeadlineSocket) -> bool:
        """Return whether nothing has come after the answer."""
        return self._limits.received == self._taken and not sock.pending()

    def _read_fields(self) -> None:
        lines: list[bytes] = []
        while line := self._line():
            lines.append(line)
            if len(lines) > MAX_HEADERS:
                raise ProtocolError(f"{self._limits.where} sent more than {MAX_HEADERS} headers")
        self.fields, self.defect = {}, None
        for text in filter(None, _FOLD.sub(b" ", b"\n".join(lines)).split(b"\n")):
            field = _FIELD.fullmatch(text)
            if field is None:
                self.defect = MALFORMED_HEADER
            else:
                value = field[2].strip(b" \t").decode("latin-1")
                self.fields.setdefault(field[1].decode().lower(), []).append(value)

    def _find_end(self) -> None:
        """Decide where the body ends and whether the connection outlives it."""
        codings = self.fields.get("transfer-encoding", [])
        lengths = self.fields.get("content-length", [])
        self.chunked, self.length = False, None
        options = ",".join(self.fields.get("connection", [])).lower()
        self.will_close = self.version == 10 or "close" in options
        if self.status in (http.HTTPStatus.NO_CONTENT, http.HTTPStatus.NOT_MODIFIED):
            self.length = 0
            self.will_close |= bool(codings) or lengths not in ([], ["0"])
        elif not codings and not lengths:
            self.will_close = True
        elif [coding.lower() for coding in codings] == ["chunked"] and not lengths:
            self.chunked = True
        elif not codings and len({*lengths}) == 1 and _LENGTH.fullmatch(lengths[0]):
            self.length = int(lengths[0])
        else:
            self.defect = self.defect or UNCLEAR_END

    def _chunk_size(self) -> int:
        line = _CHUNK_SIZE.fullmatch(self._raw_line())
        if line is None:
            raise ValueError
        return int(line[1], 16)

    def _span(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self._some(min(size, PIECE))
            if not piece:
                raise EOFError
            size -= len(piece)
            yield piece

    def _some(self, most: int) -> bytes:
        piece = self.fp.read1(most)
        self._taken += len(piece)
        return piece

    def _line(self) -> bytes:
        return self._raw_line().removesuffix(b"\n").removesuffix(b"\r")

    def _raw_line(self) -> bytes:
        line = self.fp.readline()
        self._taken += len(line)
        if line:
            return line
        if self._taken:
            raise EOFError
        raise ConnectionResetError


def read_body(answer: Answer, limits: Limits) -> tuple[bytes, str | None]:
    """Return what is kept of the body, and what went wrong with it."""
    if answer.defect is not None:
        return b"", answer.defect
    limits.enter(Phase.BODY)
    kept, read = bytearray(), 0
    note = None
    try:
        # Piece by piece, so that what came before trouble is not lost.
        for piece in answer.pieces():
            kept += piece[: KEPT_BODY - len(kept)]
            read += len(piece)
            if read > BODY_LIMIT:
                raise ProtocolError(LONG_BODY)
    except DeadlineError:
        note = "the deadline passed while the body was read"
    except ProtocolError:
        note = LONG_BODY
    except ValueError:
        note = "body malformed; the rest was not read"
    except Exception:
        note = "body cut short"
    return bytes(kept), note


def kept_headers(fields: dict[str, list[str]]) -> dict[str, str]:
    """Return the last value of each header, without those that there is no room for.

    There is room first for those whose values are shown, ``Retry-After`` among them.
    """
    kept: set[str] = set()
    room = KEPT_HEADERS
    for name in sorted(fields, key=lambda name: name not in SAFE_HEADERS):
        size = len(name) + len(fields[name][-1])
        if size <= room:
            kept.add(name)
            room -= size
    return {name: values[-1] for name, values in fields.items() if name in kept}
