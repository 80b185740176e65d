"""Worked values of the activation boundary."""

from __future__ import annotations

from typing import Final

WORKED_VALUES: Final = [
    # message tokens of the chunks, ratio, threshold, pending, force, chunks to activate
    ([700, 700], 0.0, 1000, 1400, False, 1),
    ([600, 300, 300], 0.8, 1000, 1100, False, 2),
    ([100, 100, 5000], 0.5, 1000, 1000, False, 2),
    ([5000], 0.5, 1000, 1000, False, 1),
    ([300, 600], 0.5, 1000, 1300, False, 1),
    ([300, 500], 0.5, 1000, 1300, False, 2),
    ([1000, 97400], 0.5, 100_000, 100_000, False, 1),
    ([1000, 97400], 0.5, 100_000, 100_000, True, 2),
    ([400, 400, 400], 1.0, 1000, 0, False, 1),
    ([0, 0], 1.0, 1000, 500, False, 1),
    ([100, 100, 5000], 0.5, 1000, 6000, True, 3),
]
