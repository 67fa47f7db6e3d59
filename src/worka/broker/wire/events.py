"""What both versions of HTTP tell the broker, whichever it is. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from worka.broker.wire.heads import Answer, Request


class Broken(ValueError):
    """The other side did not speak strict HTTP; the connection ends."""


class Mark(enum.Enum):
    """What is no data: more bytes are needed, the message ended, the connection ended before the next message."""

    NEED = "need"
    END = "end"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Opened:
    """A request on its own stream."""

    stream: int
    request: Request


@dataclass(frozen=True, slots=True)
class Answered:
    """The head of the final answer on a stream."""

    stream: int
    answer: Answer


@dataclass(frozen=True, slots=True)
class Received:
    """A piece of a body. `credit`: bytes to give back to the sender once the piece was passed on."""

    stream: int
    data: bytes
    credit: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The other side's message on a stream is complete. `trailers` are not checked yet."""

    stream: int
    trailers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Cut:
    """The other side gave a stream up, with this code of RFC 9113."""

    stream: int
    code: int


@dataclass(frozen=True, slots=True)
class Grown:
    """The other side takes more now, on this stream, or on all (0)."""

    stream: int


@dataclass(frozen=True, slots=True)
class Leaving:
    """The other side opens or takes no more streams above `last`."""

    last: int
    code: int


Event = Opened | Answered | Received | Ended | Cut | Grown | Leaving
