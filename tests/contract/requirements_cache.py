"""What the cache promises: the adapter, and the function on the wire."""

from __future__ import annotations

from tests.contract.requirements import NO_CLOCK, Requirement

REQUIREMENTS: dict[str, Requirement] = {
    "cache:value": Requirement("A value is read back as it was set; an absent one is null."),
    "cache:value:json": Requirement("Every JSON value survives, whole numbers as integers."),
    "cache:value:refusals": Requirement("What Convex cannot take is refused by its field's name."),
    "cache:value:replaces": Requirement("Setting replaces a list or counter, however long."),
    "cache:ttl": Requirement("An entry past its lifetime is absent.", NO_CLOCK),
    "cache:ttl:own": Requirement("One value may live longer or shorter than others.", NO_CLOCK),
    "cache:ttl:forever": Requirement("A lifetime of 0 never ends.", NO_CLOCK),
    "cache:ttl:renewed": Requirement("Pushing and incrementing renew the lifetime.", NO_CLOCK),
    "cache:ttl:refusals": Requirement("A lifetime or timeout that is no duration is refused."),
    "cache:list": Requirement("Items keep the order in which they were pushed."),
    "cache:list:range": Requirement("Ranges include both ends and may count from the end."),
    "cache:counter": Requirement("A counter goes 1, 2, 3."),
    "cache:list:concurrent": Requirement("Concurrent pushes are all stored."),
    "cache:list:concurrent:lengths": Requirement("Each push answers a length of its own."),
    "cache:counter:concurrent": Requirement("Concurrent increments are all counted."),
    "cache:conflict": Requirement("A key used as another kind is a conflict."),
    "cache:delete": Requirement("A deleted key is absent, however long its list was."),
    "cache:clear": Requirement("Clearing removes the keys of exactly one prefix."),
    "cache:repeat": Requirement("An operation is repeated while there is more, 1000 times."),
    "cache:retry": Requirement("Only calls that are harmless twice may be sent twice."),
    "cache:reply": Requirement("An answer outside the protocol is reported as such."),
    "cache:wire:get": Requirement("get: the value; null for another kind; dead keys go."),
    "cache:wire:set": Requirement("set: a long list is removed before the value is written."),
    "cache:wire:list-length": Requirement("listLength: 0 for none, soft error for another kind."),
    "cache:wire:list-push": Requirement("listPush: appends, or first removes a dead key."),
    "cache:wire:list-from-to": Requirement("listFromTo: the table of ranges."),
    "cache:wire:delete": Requirement("delete: 25 items a call, hasMore exactly beyond that."),
    "cache:wire:clear": Requirement("clear: 25 rows a call; lists one at a time."),
    "cache:wire:increment": Requirement("increment: from 1; soft error for another kind."),
    "cache:wire:tombstone": Requirement("A key being removed is absent to every operation."),
    "cache:wire:expiry": Requirement("A key is dead at its very expiry.", NO_CLOCK),
    "cache:wire:unknown": Requirement("An unknown operation is a soft error."),
}
