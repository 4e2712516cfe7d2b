"""Every error that this library raises on purpose.

    ChangehookError
    ├── ConfigurationError       a definition, file or argument is wrong; see its ``faults``
    ├── NotConfiguredError       ``changehook.emit_change`` before ``changehook.configure``
    ├── EncodingError            data that has no JSON form; ``path`` says where
    ├── VerificationError        a received request is not signed as it should be
    ├── DeliveryNotFoundError    no delivery with that id is kept
    ├── DeliveryStateError       the delivery is not in a state for what was asked
    ├── GivenUpError             a delivery was given up: a foreign engine shows its job as failed
    ├── QueueError               the queue would not take, or cannot do, what was asked
    │   ├── QueueFullError       no room within the time allowed       (retry helps)
    │   ├── QueueClosedError     the queue was closed
    │   └── StoreError           the store cannot be read or written   (retry helps)
    └── AttemptError             one attempt failed; ``error_class`` is its class in records
        ├── DNSError             dns         the name has no address        (retry helps)
        ├── ConnectError         connect     no connection                  (retry helps)
        ├── TLSError             tls         no trusted connection          (retry helps)
        ├── DeadlineError        timeout     the attempt's deadline passed  (retry helps)
        ├── ProtocolError        protocol    not HTTP, or cut short         (retry helps)
        ├── BlockedError         blocked     the network policy refused the address
        ├── RenderError          render      a template could not be rendered
        └── SetupError           config      the worker lacks what the webhook needs

``retryable`` on every class says whether trying the same thing again can help. Every error can be
pickled: the arguments that it was built with are its ``args``.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import ClassVar, ParamSpec, TypeVar

import attrs

_P = ParamSpec("_P")
_R = TypeVar("_R")


class ChangehookError(Exception):
    """The root of every error of this library."""

    retryable: ClassVar[bool] = False


@attrs.frozen
class Fault:
    """One thing that is wrong in a document: its JSON pointer (RFC 6901), what to write instead."""

    pointer: str
    message: str

    def __str__(self) -> str:
        return printable(f"{self.pointer or '/'}: {self.message}")

    def under(self, prefix: str) -> Fault:
        """Return the same fault as seen from a document that holds this one at ``prefix``."""
        return Fault(prefix + self.pointer, self.message)


def printable(text: str) -> str:
    """Return text with whatever a terminal or a log may take for a command as an escape."""
    return text if text.isprintable() else ascii(text)[1:-1]


SHOWN_NAME = 60  # characters of a name that somebody wrote


def kind_and_place(error: BaseException) -> str:
    """Return the class of an error and the line that raised it; its text may hold a secret."""
    kind = type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"{kind} in {error.filename.rpartition('/')[2]}, line {error.lineno}"
    frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    code, line = next(
        (each for each in reversed(frames) if not each[0].co_filename.startswith("<frozen")),
        frames[-1],
    )
    return f"{kind} in {code.co_filename.rpartition('/')[2]}, line {line}, in {code.co_name}"


def pointer_to(key: object) -> str:
    """Return the JSON pointer (RFC 6901) of one key."""
    return "/" + str(key).replace("~", "~0").replace("/", "~1")


class ConfigurationError(ChangehookError):
    """What the host or an operator wrote is wrong; ``faults`` holds every fault found, not just
    the first."""

    def __init__(self, *faults: Fault | str) -> None:
        super().__init__(*faults)
        self.faults: tuple[Fault, ...] = tuple(
            fault if isinstance(fault, Fault) else Fault("", fault) for fault in faults
        )

    def __str__(self) -> str:
        return "\n".join(str(fault) if fault.pointer else fault.message for fault in self.faults)


class NotConfiguredError(ChangehookError):
    """The default emitter was used before ``changehook.configure`` was called."""


class EncodingError(ChangehookError):
    """A value has no JSON form; ``path`` names it from the root, as in ``data.owner.avatar``."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{printable(self.path)}: {self.reason}"


class VerificationError(ChangehookError):
    """A received request does not carry a signature that one of the secrets made."""


class DeliveryNotFoundError(ChangehookError):
    """No delivery with that id is kept."""


class DeliveryStateError(ChangehookError):
    """The delivery is not in a state for what was asked: finished already, or being attempted."""


class GivenUpError(ChangehookError):
    """A delivery was given up: raised in a job of a foreign engine, which shows it as failed."""


class QueueError(ChangehookError):
    """The queue would not take the deliveries, or cannot do what was asked."""

    retryable = True


class QueueFullError(QueueError):
    """The queue had no room within the time allowed."""


class QueueClosedError(QueueError):
    """The queue was closed and takes no more deliveries."""

    retryable = False


class StoreError(QueueError):
    """The store cannot be read or written just now; what was stored before is still there."""


class AttemptError(ChangehookError):
    """One attempt to deliver failed; the message is safe to store and to log.

    ``address`` is the numeric address that was dialled last; None when it did not come to that.
    """

    error_class: ClassVar[str] = "protocol"
    retryable = True
    address: str | None = None


class DNSError(AttemptError):
    """The receiver's name has no address."""

    error_class = "dns"


class ConnectError(AttemptError):
    """No connection to the receiver could be made."""

    error_class = "connect"


class TLSError(AttemptError):
    """No trusted TLS connection to the receiver could be made."""

    error_class = "tls"


class DeadlineError(AttemptError):
    """The attempt's deadline passed."""

    error_class = "timeout"


class ProtocolError(AttemptError):
    """The receiver's answer is not HTTP, is cut short, or is larger than we read."""

    error_class = "protocol"


class BlockedError(AttemptError):
    """The network policy refused the receiver's address."""

    error_class = "blocked"
    retryable = False


class RenderError(AttemptError):
    """A template could not be rendered for this change."""

    error_class = "render"
    retryable = False


class SetupError(AttemptError):
    """The worker lacks something that the webhook needs, such as a secret or a CA file."""

    error_class = "config"
    retryable = False


def refuses_liars(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Return the function so that what a host's own types raise becomes a ConfigurationError.

    Whatever is checked may be an object whose methods raise when they are asked what it is.
    """

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        kind = None
        try:
            return function(*args, **kwargs)
        except ChangehookError:
            raise
        except Exception as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is None:
                raise  # the arguments do not fit
            kind = type(error).__name__
        raise ConfigurationError(
            f"a value raises {kind} when it is looked at; write text, numbers, lists and objects"
        )

    return call


def hides_locals(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Return the function so that what it raises carries no variables, which crash reports show.

    The frames within are emptied, also those of a host's code that was called; file, line and
    function stay. An error that was set aside by ``from None`` is dropped: a
    ``JSONDecodeError`` or a ``UnicodeError`` holds the whole text that it is about.
    """

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            del args, kwargs
            traceback.clear_frames(error.__traceback__)
            if error.__suppress_context__:
                error.__context__ = None
            raise

    return call
