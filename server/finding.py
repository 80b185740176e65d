"""What `convex-memory doctor` says of one thing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    Args:
        subject: What, in a word or two.
        ok: Whether it is right.
        told: What was found, and what to do where it is not right. Never a secret.
    """

    subject: str
    ok: bool
    told: str
