"""How far something long has come: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TextIO

BAR_CHARS: Final = 24
DRAWN_EVERY_SECONDS: Final = 0.1
LINE_EVERY_SECONDS: Final = 10.0


class Progress:
    """Shows how much is done of something that has several phases.

    Args:
        stream: Where to.
        counted: What is counted.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        counted: str = "rows",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.doing = ""
        self._counted = counted
        self._stream = stream
        self._clock = clock
        self._is_terminal = stream.isatty()
        self._began = self._shown = clock()
        self._begun_with = 0
        self._drawn = 0

    def show(self, doing: str, done: int, fraction: float | None) -> None:
        """Show how far it is, unless that was shown a moment ago.

        Args:
            doing: The phase, as a verb that ends in -ing.
            done: How many rows, or what else is counted, are done; 0 where nobody counts.
            fraction: How much of the whole, 0 to 1; None when nobody knows.
        """
        now = self._clock()
        if doing != self.doing:
            self.doing, self._began, self._begun_with = doing, now, done
        every = DRAWN_EVERY_SECONDS if self._is_terminal else LINE_EVERY_SECONDS
        if now - self._shown < every:
            return
        self._shown = now
        text = self._text(done, fraction, now)
        if self._is_terminal:
            self._stream.write("\r" + text.ljust(self._drawn))
            self._drawn = len(text)
        else:
            self._stream.write(text + "\n")
        self._stream.flush()

    def end(self) -> None:
        """Take the bar away, so that what is said next has the line for itself."""
        if self._drawn:
            self._stream.write("\r" + " " * self._drawn + "\r")
            self._stream.flush()
            self._drawn = 0

    def _text(self, done: int, fraction: float | None, now: float) -> str:
        seconds = now - self._began
        if not done and fraction is None:
            return f"{self.doing}, {seconds:,.0f} s"
        rate = (done - self._begun_with) / seconds if seconds > 0 else 0
        text = f"{done:,} {self._counted}, {rate:,.0f}/s"
        if fraction is None:
            return f"{self.doing} {text}"
        part = min(max(fraction, 0.0), 1.0)
        if not self._is_terminal:
            return f"{self.doing} {part:.0%}, {text}"
        filled = round(part * BAR_CHARS)
        return f"{self.doing} [{'#' * filled}{'.' * (BAR_CHARS - filled)}] {part:4.0%} {text}"
