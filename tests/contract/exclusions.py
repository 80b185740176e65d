"""What a leg cannot show of many requirements for one reason; single ones say it themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Exclusion:
    """Requirements that legs cannot show.

    Attributes:
        legs: The legs.
        reason: Why they cannot.
        names: The requirements; `*` stands for any characters.
    """

    legs: tuple[str, ...]
    reason: str
    names: tuple[str, ...]


_MASTRA: Final = ("mastra",)

EXCLUSIONS: Final = (
    Exclusion(
        ("convex-test", "live"),
        "a row that comes back is a new one there: the last of those said in one millisecond",
        (
            "forgetting:messages:any",
            "forgetting:messages:restore",
        ),
    ),
    Exclusion(
        ("convex-test",),
        "its clock moves without what was scheduled for then, and a query cannot write",
        ("forgetting:expiry:supersede",),
    ),
    Exclusion(
        _MASTRA,
        "there is no function of ours, and the protocol has nothing that could stand in for it",
        (
            "scheduling:claim",
            "store:changes*",
            "store:stats",
        ),
    ),
    Exclusion(
        _MASTRA,
        "it refuses too, in the words of Convex or of JavaScript",
        (
            "wire:insert:refusals",
            "wire:query:hint:refusals",
            "wire:schema:closed",
            "wire:schema:type",
            "wire:system-fields:new",
            "wire:table-name",
            "wire:tasks:soft",
            "wire:update-thread:refusals",
        ),
    ),
    Exclusion(
        _MASTRA,
        "its refusals have no code, so they are no more than errors of a function",
        (
            "store:observations:absent",
            "store:observations:reflect:none",
            "store:observations:reflect:once",
            "wire:hard-error",
        ),
    ),
    Exclusion(
        _MASTRA,
        "its functions do not check this argument",
        (
            "store:observations:history:refusals",
            "store:observations:reflect:id",
            "store:observations:swap:refusals",
            "wire:arguments",
            "wire:query:filters:refusals",
            "wire:query:limit:fractions",
            "wire:query:limit:refusals",
            "wire:workflows:malformed",
        ),
    ),
    Exclusion(
        _MASTRA,
        "its functions leave limits to Convex, of which convex-test keeps none",
        (
            "native:wire:query:default",
            "store:observations:buffer:refusals",
            "wire:limits",
            "wire:rollback:documents",
            "wire:update-thread:text:refusals",
        ),
    ),
    Exclusion(
        _MASTRA,
        "there a swap keeps the list that its caller sends, whatever came after it was read",
        (
            "store:observations:swap:concurrent",
            "store:observations:swap:exactly-once",
            "store:observations:swap:stale",
        ),
    ),
    Exclusion(
        _MASTRA,
        "a soft error there keeps what was written before it",
        ("wire:rollback:soft",),
    ),
    Exclusion(
        _MASTRA,
        "its push does not answer the length, which is then asked for",
        ("cache:list:concurrent:lengths",),
    ),
    Exclusion(
        _MASTRA,
        "it deletes a row as often as its id is given, which Convex refuses",
        ("native:wire:delete:twice",),
    ),
    Exclusion(
        _MASTRA,
        "it looks for old copies only while there are rows to delete",
        ("wire:tasks:legacy:clear:rest",),
    ),
    Exclusion(
        _MASTRA,
        "it never writes the time zone of new active observations",
        ("store:observations:active:timezone",),
    ),
    Exclusion(
        _MASTRA,
        "it filters as Convex compares: objects and arrays by value",
        ("wire:query:equality:nested",),
    ),
)
