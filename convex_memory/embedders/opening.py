"""Which embedder a short text names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from convex_memory.errors import ConfigurationError
from convex_memory.limits import VECTOR_DIMENSION_MAX, VECTOR_DIMENSION_MIN

if TYPE_CHECKING:
    from convex_memory.embedders.embedder import Embedder

MINILM: Final = "minilm"
OFF: Final = "off"
DEFAULT_EMBEDDER: Final = MINILM
CHOICES: Final = (
    f"{MINILM} (offline), {OFF}, or openai:MODEL such as openai:text-embedding-3-small, "
    f"with :DIMENSION ({VECTOR_DIMENSION_MIN} to {VECTOR_DIMENSION_MAX}) at the end for shorter "
    "vectors"
)
OPENAI_URL: Final = "https://api.openai.com/v1"
ENDPOINT_RULE: Final = (
    "must be http:// or https:// with a host, without user, query or fragment, for instance "
    f"{OPENAI_URL}"
)
MODEL_CHARS_MAX: Final = 200
EMBEDDER_TIMEOUT_MS_DEFAULT: Final = 30_000
_OPENAI: Final = "openai:"


@dataclass(frozen=True, slots=True)
class Named:
    """What a text names: an embedder, or `off`; model and dimension are those of `openai:`."""

    embedder: str
    model: str = ""
    dimension: int | None = None


def named(text: str) -> Named | None:
    """What a text names, `None` when it names nothing.

    Args:
        text: `minilm`, `off`, or `openai:<model>[:<dimension>]`. A name of a model may hold
            colons; what follows the last one is the dimension when it is a whole number.
    """
    if text.lower() in (MINILM, OFF):
        return Named(text.lower())
    if not text.startswith(_OPENAI):
        return None
    model, colon, last = text.removeprefix(_OPENAI).rpartition(":")
    dimension = None
    if colon and last.isascii() and last.isdecimal():
        dimension = int(last)
        if not VECTOR_DIMENSION_MIN <= dimension <= VECTOR_DIMENSION_MAX:
            return None
    else:
        model += colon + last
    usable = 1 <= len(model) <= MODEL_CHARS_MAX and all("!" <= each <= "~" for each in model)
    return Named("openai", model, dimension) if usable else None


def endpoint(base_url: str) -> str | None:
    """An address as it is used, `None` when it cannot be (see `ENDPOINT_RULE`).

    Args:
        base_url: Where `/embeddings` is added; a slash at its end goes.
    """
    text = base_url.strip().rstrip("/")
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return None
    if not valid or "@" in parts.netloc or parts.query or parts.fragment:
        return None
    return text if all("!" <= character <= "~" for character in text) else None


def open_embedder(
    name: str = DEFAULT_EMBEDDER,
    *,
    api_key: str | None = None,
    base_url: str | None = None,
    threads: int | None = None,
    timeout_ms: int = EMBEDDER_TIMEOUT_MS_DEFAULT,
) -> Embedder | None:
    """Make the embedder that a text names. Nothing is loaded or connected before it is used.

    Args:
        name: `minilm` (offline), `off`, or `openai:<model>[:<dimension>]`.
        api_key: For `openai:`; an endpoint of your own may need none.
        base_url: For `openai:`, where `/embeddings` is added; OpenAI's own when left out.
        threads: For `minilm`: threads for long work, by default half of the cores, at most 4.
        timeout_ms: For `openai:`: how long one request may take with all its tries.

    Returns:
        The embedder, `None` for `off`.

    Raises:
        ConfigurationError: The name, the key, the address or a number cannot be used.
    """
    choice = named(name)
    if choice is None:
        raise ConfigurationError(f"There is no embedder {name[:80]!a}: choose {CHOICES}.")
    if choice.embedder == OFF:
        return None
    if choice.embedder == MINILM:
        from convex_memory.embedders.minilm import MiniLMEmbedder

        return MiniLMEmbedder(threads=threads)
    from convex_memory.embedders.openai import OpenAIEmbedder

    return OpenAIEmbedder(
        choice.model,
        dimension=choice.dimension,
        api_key=api_key,
        base_url=base_url or OPENAI_URL,
        timeout_ms=timeout_ms,
    )
