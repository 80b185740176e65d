"""The name space of a principal: where the names that a principal chooses are stored.

A stored name is the name space and what the principal chose. The name space tells how long the
principal's own name is, so none is the beginning of another, whatever the principals are called;
and no principal can name what is outside of theirs, because it is always put before.
"""

from __future__ import annotations

from typing import Final

from convex_memory.limits import MESSAGE_ID_CHARS_MAX

NAMESPACE_MARK: Final = "~"
"""What a name space begins with, and the name of no principal."""
PRINCIPAL_CHARS_MAX: Final = 128
PRINCIPAL_NAME_CHARS_MAX: Final = MESSAGE_ID_CHARS_MAX - PRINCIPAL_CHARS_MAX - 12
"""Ids, index names and cache keys that a principal chooses; with the name space they still fit."""
PRINCIPAL_RULE: Final = (
    f"A principal has 1 to {PRINCIPAL_CHARS_MAX} printable characters, no spaces around them and "
    f"no {NAMESPACE_MARK} before them."
)


def may_be_principal(name: str) -> bool:
    """Whether a name can be that of a principal."""
    return (
        0 < len(name) <= PRINCIPAL_CHARS_MAX
        and name.isprintable()
        and name == name.strip()
        and not name.startswith(NAMESPACE_MARK)
    )


def namespace_of(principal: str) -> str:
    """Return what stands before every name that a principal chooses."""
    return f"{NAMESPACE_MARK}{len(principal)}:{principal}:"


def namespace_in(name: str) -> str:
    """Return the name space that a stored name is in; empty where it is in none."""
    if not name.startswith(NAMESPACE_MARK):
        return ""
    digits, separator, rest = name[1:].partition(":")
    if not separator or not (digits.isascii() and digits.isdecimal()):
        return ""
    end = int(digits) if len(digits) <= 3 else len(rest)
    if rest[end : end + 1] != ":":
        return ""
    return namespace_of(rest[:end])
