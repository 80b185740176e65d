"""Made-up messages of a lifelike length, with words as unevenly common as they are in speech."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Final

from convex_memory.records import Message
from convex_memory.text import text_content

RESOURCE: Final = "bench"
START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_SYLLABLES: Final = tuple(first + second for first in "bdfgklmnprstvz" for second in "aeiou")
_WORDS: Final = 5000
_TRIES: Final = 8000


class Sentences:
    """A source of messages; the same seed says the same.

    Args:
        seed: Of the words and of how many there are in a message.

    Attributes:
        words: The vocabulary, the commonest first.
    """

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        syllables = (self._random.choices(_SYLLABLES, k=2 + place % 3) for place in range(_TRIES))
        self.words = list(dict.fromkeys("".join(word) for word in syllables))[:_WORDS]
        # The n-th word is said 1/n as often as the first.
        self._weights = [1 / place for place in range(1, len(self.words) + 1)]

    def text(self) -> str:
        """Return 8 to 40 words: about 150 characters."""
        count = self._random.randint(8, 40)
        return " ".join(self._random.choices(self.words, self._weights, k=count))

    def message(self, thread_id: str, place: int) -> Message:
        """Return the message at a place of a thread, both sides taking turns."""
        return Message(
            id=f"{thread_id}:{place}",
            thread_id=thread_id,
            resource_id=RESOURCE,
            role="assistant" if place % 2 else "user",
            content=text_content(self.text()),
            created_at=START + timedelta(seconds=place),
        )
