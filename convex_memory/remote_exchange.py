"""One HTTP request, its answer, and what is known of it when no answer came."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from typing import Final, Protocol

ANSWER_BYTES_MAX: Final = 64 << 20
"""An answer of Convex holds at most 16 MiB of values; this is what is read of any server."""
PIECE_BYTES: Final = 64 << 10
"""How much of a body is handed on at once. A call that is given up leaves no more than this
waiting to be sent, so that a long body never arrives whole after its deadline."""


@dataclass(slots=True)
class Outgoing:
    """A request on its way.

    Args:
        url: Where to.
        body: What to send, whole.
        connect_seconds: How long making a connection may take.
        once: Whether sending it twice would do harm.

    Attributes:
        begun: Whether some of the body may have left. Until then nothing can be executed.
    """

    url: str
    body: bytes
    connect_seconds: float
    once: bool
    begun: bool = False

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it is to be handed on; the first piece begins it."""
        self.begun = True
        for start in range(0, len(self.body), PIECE_BYTES):
            yield self.body[start : start + PIECE_BYTES]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, read to its end.

    Args:
        status: The HTTP status.
        retry_after: The header of that name.
        content: The body, decompressed.
    """

    status: int
    retry_after: str | None
    content: bytes


@dataclass(frozen=True, slots=True)
class Exchange:
    """What can be seen from outside of one request: times and sizes, no content.

    Args:
        tries: Which try of its call it was, from 1.
        status: Of the answer; None where none came.
        sent_bytes: Size of its body.
        received_bytes: Size of the answer's body.
        began_ns: When, in nanoseconds since the epoch.
        took_ns: How long.
    """

    tries: int
    status: int | None
    sent_bytes: int
    received_bytes: int
    began_ns: int
    took_ns: int


class Broken(Exception):
    """The exchange ended without a whole answer.

    Args:
        reason: What the operating system or TLS says of it; empty where nothing is known.
        timed_out: Whether it took too long.
        cause: What is behind it, where that shows neither content nor headers.
    """

    def __init__(
        self, reason: str = "", *, timed_out: bool = False, cause: BaseException | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.timed_out = timed_out
        self.cause = cause


class AnswerTooLong(Exception):
    """The answer is longer than `ANSWER_BYTES_MAX`."""


class UnusableAddress(Exception):
    """The HTTP client does not take the URL for one."""


class Connections(Protocol):
    """What carries requests."""

    async def send(self, outgoing: Outgoing) -> Reply:
        """Send a request and read its answer.

        A request that fails or is cancelled takes its connection with it.

        Raises:
            Broken: No whole answer; `outgoing.begun` says whether it can have been executed.
            AnswerTooLong: The answer was not read to its end.
            UnusableAddress: Nothing was sent.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection; requests on their way are `Broken`."""
        ...


async def read_whole(pieces: AsyncIterable[bytes], announced: int | None = None) -> bytes:
    """Read an answer to its end.

    Args:
        pieces: The body as it comes.
        announced: Its length, where the answer says so.

    Raises:
        AnswerTooLong: It is, or says that it is, longer than `ANSWER_BYTES_MAX`.
    """
    content = bytearray()
    if announced is not None and announced > ANSWER_BYTES_MAX:
        raise AnswerTooLong
    async for piece in pieces:
        content += piece
        if len(content) > ANSWER_BYTES_MAX:
            raise AnswerTooLong
    return bytes(content)
