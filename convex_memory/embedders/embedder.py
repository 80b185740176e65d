"""What every embedder does: make vectors whose nearness is nearness in meaning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from convex_memory.errors import EmbedderUnavailable, InvalidArgument

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The vectors of some texts.

    `vectors` has one row of length 1 for each text, in their order: float32, (texts, dimension).
    `sampled` holds the positions of the texts that were too long to be read whole: their
    vectors come from parts evenly spread from beginning to end. `unread` holds those of which the
    model knows less than half, in a script it never learnt: their vectors mean nothing.
    """

    vectors: NDArray[np.float32]
    sampled: tuple[int, ...] = ()
    unread: tuple[int, ...] = ()


class Embedder(Protocol):
    """Makes vectors from texts. Questions and what they are asked of are embedded alike.

    An embedder may be used from many tasks at once. Making one is cheap: whatever is heavy is
    loaded, off the event loop, when the first text is embedded.
    """

    @property
    def id(self) -> str:
        """What makes the vectors: model, weights, how long texts are read.

        Vectors of embedders with one id can be compared; of others they cannot. At most 512
        characters, the same in every process and release as long as the vectors are the same.
        """

    @property
    def dimension(self) -> int | None:
        """The length of the vectors; `None` while nobody knows, until the first answer."""

    def why_unavailable(self) -> str | None:
        """Why no text can be embedded here, as a sentence, or `None`.

        Looks without loading or connecting: an embedder that seems available may still fail.
        """

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts.

        Any text will do: the empty one has a vector too, though it means nothing, and what no
        encoding can carry (lone surrogates, NUL) is replaced or left out. A text longer than
        the model reads is cut into overlapping windows whose vectors are averaged; one of more
        than 32 windows is read in 32 places, and is among `sampled`.

        Args:
            texts: As many as there are; memory is needed for the vectors and a small batch.

        Raises:
            InvalidArgument: This is no list of texts.
            EmbedderUnavailable: It cannot work until somebody changes something.
            EmbedderUnreachable: It did not answer in time; later it may.
            EmbedderRefused: It takes other texts, but not these.
        """

    async def aclose(self) -> None:
        """Free what it holds, and refuse every later call."""


def checked(texts: Sequence[str]) -> list[str]:
    """The texts as a list.

    Raises:
        InvalidArgument: It is one text, or an element is none.
    """
    if isinstance(texts, str | bytes):
        raise InvalidArgument("texts must be a list of texts, not a single one.")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidArgument(
                f"texts[{position}] is {type(text).__name__}; only text can be embedded."
            )
    return list(texts)


def closed() -> EmbedderUnavailable:
    """What is raised for a call after `aclose`."""
    return EmbedderUnavailable("This embedder has been closed; make another one to embed texts.")
