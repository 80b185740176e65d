"""Embedders behind OpenAI's embeddings API: OpenAI's own, or any endpoint that speaks it.

POST {base_url}/embeddings with `model` and `input`, a list of texts; the answer's `data` holds
an `embedding` for each `index` (https://platform.openai.com/docs/api-reference/embeddings).
Embedding changes nothing, so whatever may pass is tried again within the deadline.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from convex_memory.embedders.embedder import Embeddings, checked, closed
from convex_memory.embedders.openai_answers import Failed, Request, read_answer, unanswered
from convex_memory.embedders.opening import (
    EMBEDDER_TIMEOUT_MS_DEFAULT,
    ENDPOINT_RULE,
    OPENAI_URL,
    endpoint,
)
from convex_memory.embedders.windows import (
    WINDOWS_MAX,
    Borders,
    Owner,
    places_in,
    pooled,
    spread,
    windows_of,
)
from convex_memory.errors import ConfigurationError, EmbedderUnavailable, EmbedderUnreachable

if TYPE_CHECKING:
    import httpx2
    import numpy as np
    from numpy.typing import NDArray

OPENAI_WINDOW_BYTES: Final = 8000
"""OpenAI's models read 8,191 tokens, and a token is a byte at least."""
WINDOW_BYTES: Final = 1500
"""For other endpoints: many models read 512 tokens, which 1,500 bytes rarely exceed: a token of
English is about four bytes, a Chinese character three, and often a token."""
BATCH_TEXTS_MAX: Final = 64
BATCH_BYTES_MAX: Final = 128 << 10
"""What one request holds at most; OpenAI takes 2,048 texts and 300,000 tokens, others less."""
TRIES_MAX: Final = 5
PAUSE_FIRST_SECONDS: Final = 0.25
PAUSE_SECONDS_MAX: Final = 8.0
"""Pauses between tries double from the first to this, each shortened by up to half at random."""
CONNECT_SECONDS_MAX: Final = 5.0
ANSWER_BYTES_MAX: Final = 32 << 20
"""64 vectors of 4,096 dimensions, written out, are 6 MB."""
BLANK: Final = "(blank)"
"""Sent in place of texts without a visible character, which endpoints refuse."""

_WORD_STARTS: Final = re.compile(rb"\s(?=\S)")
_SENTENCE_ENDS: Final = re.compile(
    rb"[.!?][\"')\]]*\s+|\n\s*|(?:\xe3\x80\x82|\xef\xbc\x81|\xef\xbc\x9f)"
)
"""Ends of sentences in UTF-8, the full-width ones of Chinese and Japanese last."""

_log = logging.getLogger(__name__)


class OpenAIEmbedder:
    """Embeds texts at an endpoint. Nothing is connected before the first text.

    Proxies and certificates are not read from the environment: give a `transport` for those.

    Args:
        model: The model, as the endpoint names it.
        dimension: Ask for vectors of this length; not every model has a choice. `None` takes
            what comes.
        api_key: Sent as bearer token; `None` for an endpoint that wants none. No error, log or
            repr shows it.
        base_url: Where `/embeddings` is added.
        window_bytes: How many bytes of UTF-8 of a text the model reads at once; by default
            8,000 at OpenAI, 1,500 elsewhere. Longer texts are cut there, see `windows`.
        timeout_ms: How long one request of up to 64 texts may take with all its tries, in
            milliseconds.
        transport: What carries requests instead of a pool of connections; closed with this.
        clock: Seconds, monotonic.
        sleep: Waits that many seconds.

    Raises:
        ConfigurationError: The key, the address or a number cannot be used.
    """

    def __init__(
        self,
        model: str,
        *,
        dimension: int | None = None,
        api_key: str | None = None,
        base_url: str = OPENAI_URL,
        window_bytes: int | None = None,
        timeout_ms: int = EMBEDDER_TIMEOUT_MS_DEFAULT,
        transport: httpx2.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        url = endpoint(base_url)
        if url is None:
            # The text itself is not shown: it may hold a password.
            raise ConfigurationError(f"The address of an embeddings endpoint {ENDPOINT_RULE}.")
        self._url = url
        self._is_openai = self._url == OPENAI_URL
        self._api_key = _usable_key(api_key)
        self._window = window_bytes or (OPENAI_WINDOW_BYTES if self._is_openai else WINDOW_BYTES)
        for name, number in (("timeout_ms", timeout_ms), ("window_bytes", self._window)):
            if number < 100:
                raise ConfigurationError(f"{name} is {number}; it must be at least 100.")
        self._model = model
        self._asked_dimension = self._dimension = dimension
        self._timeout_ms = timeout_ms
        self._transport = transport
        self._clock = clock
        self._sleep = sleep
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpx2.AsyncClient] = (
            weakref.WeakKeyDictionary()
        )
        self._closed = False

    def __repr__(self) -> str:
        return f"OpenAIEmbedder({self._model!r}, base_url={self._url!r})"

    @property
    def id(self) -> str:
        """Model, dimension if one was asked for, endpoint, and how long texts are read."""
        asked = f":{self._asked_dimension}" if self._asked_dimension else ""
        where = self._url.partition("://")[2]
        return f"openai:{self._model}{asked}@{where}/mean-{self._window}b"

    @property
    def dimension(self) -> int | None:
        """The length of the vectors: as asked for, or as the first answer had them."""
        return self._dimension

    def why_unavailable(self) -> str | None:
        """Why it cannot work: OpenAI's own endpoint wants a key."""
        if self._is_openai and self._api_key is None:
            return (
                "OpenAI's endpoint wants an API key: set OPENAI_API_KEY, or OPENAI_BASE_URL for "
                "an endpoint that needs none."
            )
        return None

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts; see `Embedder.embed`. Blank ones are sent as `(blank)`.

        Raises:
            InvalidArgument: This is no list of texts.
            EmbedderUnavailable: The key, model or endpoint is wrong, or a quota is used up.
            EmbedderUnreachable: No usable answer within the deadline.
            EmbedderRefused: The endpoint takes other texts; `details["positions"]` are those
                of the request it refused.
        """
        listed = checked(texts)
        if self._closed:
            raise closed()
        why = self.why_unavailable()
        if why is not None:
            raise EmbedderUnavailable(why)
        windows, sampled = await asyncio.to_thread(self._windows_of_all, listed)
        answers = [await self._embed_batch(batch) for batch in _batches(windows)]
        owners = [window.owner for window in windows]
        return await asyncio.to_thread(_together, answers, owners, len(listed), sampled)

    async def aclose(self) -> None:
        """Close the connections of this event loop and refuse every later call."""
        self._closed = True
        client = self._clients.pop(asyncio.get_running_loop(), None)
        self._clients.clear()
        if client is not None:
            await client.aclose()

    # --- Texts to windows

    def _windows_of_all(self, texts: Sequence[str]) -> tuple[list[_Window], list[int]]:
        windows, sampled = [], []
        for position, text in enumerate(texts):
            # Some servers end a text at a NUL. What UTF-8 cannot carry becomes `?`.
            content = text.replace("\0", " ").encode("utf-8", "replace")
            if not content.strip():
                content = BLANK.encode()
            parts, whole = self._windows_in(content)
            windows += [_Window(part, Owner(position, len(part))) for part in parts]
            if not whole:
                sampled.append(position)
        return windows, sampled

    def _windows_in(self, content: bytes) -> tuple[list[bytes], bool]:
        """The windows of a text, and whether they hold all of it."""
        size = self._window
        if len(content) <= size:
            return [content], True
        if len(content) > size * WINDOWS_MAX:
            return [_characters(content, place) for place in places_in(len(content), size)], False
        words = [found.end() for found in _WORD_STARTS.finditer(content)]
        sentences = [found.end() for found in _SENTENCE_ENDS.finditer(content)]
        windows = windows_of(Borders(len(content), words, sentences), size, size // 8)
        chosen = spread(windows)
        return [_characters(content, each) for each in chosen], len(chosen) == len(windows)

    # --- Requests

    async def _embed_batch(self, windows: Sequence[_Window]) -> NDArray[np.float32]:
        request = Request(
            self._model,
            self._url,
            len(windows),
            self._dimension,
            tuple(dict.fromkeys(window.owner.position for window in windows)),
        )
        body = await asyncio.to_thread(self._body, windows)
        began, tries = self._clock(), 0
        while True:
            tries += 1
            outcome = await self._try(request, body, began)
            if not isinstance(outcome, Failed):
                self._dimension = outcome.shape[1]
                return outcome
            pause = self._pause(outcome, tries, began)
            if pause is None:
                _log.warning(
                    "embedding failed model=%s code=%s tries=%d ms=%d",
                    self._model,
                    outcome.error.code,
                    tries,
                    (self._clock() - began) * 1000,
                )
                raise outcome.error from outcome.cause
            await self._sleep(pause)

    def _body(self, windows: Sequence[_Window]) -> bytes:
        asked: dict[str, object] = {
            "model": self._model,
            "input": [window.content.decode() for window in windows],
        }
        if self._asked_dimension is not None:
            asked["dimensions"] = self._asked_dimension
        if self._is_openai:
            # A third of the size. Others may not know it; whatever they answer with is read.
            asked["encoding_format"] = "base64"
        return json.dumps(asked, ensure_ascii=False).encode()

    def _remaining(self, began: float) -> float:
        return began + self._timeout_ms / 1000 - self._clock()

    def _pause(self, failed: Failed, tries: int, began: float) -> float | None:
        """Seconds until the next try, `None` when there is to be none."""
        if not failed.again or tries >= TRIES_MAX:
            return None
        longest = min(PAUSE_SECONDS_MAX, PAUSE_FIRST_SECONDS * 2 ** (tries - 1))
        pause = max(longest * random.uniform(0.5, 1), failed.after_seconds)
        return pause if pause < self._remaining(began) else None

    async def _try(
        self, request: Request, body: bytes, began: float
    ) -> NDArray[np.float32] | Failed:
        import httpx2

        remaining = self._remaining(began)
        try:
            async with asyncio.timeout(remaining):
                return await self._exchange(request, body, remaining)
        except TimeoutError as error:
            return Failed(
                EmbedderUnreachable(
                    f"{self._url} embedded nothing within {self._timeout_ms} ms. Try again later."
                ),
                cause=error,
            )
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            return unanswered(error, request)

    async def _exchange(
        self, request: Request, body: bytes, remaining: float
    ) -> NDArray[np.float32] | Failed:
        import httpx2

        content = bytearray()
        connect = min(CONNECT_SECONDS_MAX, remaining / 2)
        async with self._client().stream(
            "POST",
            f"{self._url}/embeddings",
            content=body,
            timeout=httpx2.Timeout(None, connect=connect),
        ) as response:
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > ANSWER_BYTES_MAX:
                    return Failed(request.unreadable())
        return await asyncio.to_thread(
            read_answer,
            request,
            response.status_code,
            response.headers.get("retry-after"),
            bytes(content),
        )

    def _client(self) -> httpx2.AsyncClient:
        import httpx2

        if self._closed:
            raise closed()
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            headers = {"Content-Type": "application/json", "User-Agent": "convex-memory"}
            if self._api_key is not None:
                headers["Authorization"] = f"Bearer {self._api_key}"
            client = self._clients[loop] = httpx2.AsyncClient(
                headers=headers, transport=self._transport, trust_env=False
            )
        return client


@dataclass(frozen=True, slots=True)
class _Window:
    content: bytes
    owner: Owner


def _characters(content: bytes, window: slice) -> bytes:
    """A window of UTF-8, moved back at either end to where a character begins."""
    begin, end = window.start, window.stop
    while begin and content[begin] & 0xC0 == 0x80:
        begin -= 1
    while end < len(content) and content[end] & 0xC0 == 0x80:
        end -= 1
    return content[begin:end]


def _batches(windows: Sequence[_Window]) -> Iterator[list[_Window]]:
    batch: list[_Window] = []
    size = 0
    for window in windows:
        if len(batch) == BATCH_TEXTS_MAX or (
            batch and size + len(window.content) > BATCH_BYTES_MAX
        ):
            yield batch
            batch, size = [], 0
        batch.append(window)
        size += len(window.content)
    if batch:
        yield batch


def _together(
    answers: Sequence[NDArray[np.float32]],
    owners: Sequence[Owner],
    count: int,
    sampled: Sequence[int],
) -> Embeddings:
    import numpy as np

    if not answers:
        return Embeddings(np.empty((0, 0), np.float32))
    return Embeddings(pooled(np.concatenate(answers), owners, count), tuple(sampled))


def _usable_key(api_key: str | None) -> str | None:
    if api_key is None:
        return None
    if not api_key or not all("!" <= character <= "~" for character in api_key):
        raise ConfigurationError(
            "The API key of the embedder must be printable ASCII without spaces, and not empty. "
            "Copy it again."
        )
    return api_key
