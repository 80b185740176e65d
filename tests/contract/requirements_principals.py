"""What the gate promises: a principal sees and changes nothing but what is theirs."""

from __future__ import annotations

from tests.contract.requirements import LIVE, Requirement

_NOT_HERE = {
    "mastra": "it has no gate, and principals are not served from it",
    **dict.fromkeys(LIVE, "what principals store there would not be found again to be removed"),
}
_BEHAVIOURS = {
    "principals:own": "What a principal stores is theirs under the ids that they chose.",
    "principals:same-ids": "Principals may choose the same ids; each has their own.",
    "principals:foreign": "An id of somebody else, as chosen or as stored, is one that is free.",
    "principals:adopted": (
        "Threads and messages that another program stored for a principal go by their own ids, "
        "and can be changed, deleted, restored and added to."
    ),
    "principals:mixed": (
        "A message for a principal in a thread of somebody else does not show what is around it."
    ),
    "principals:resource": "Another resource that a principal names is one that has nothing.",
    "principals:denied": "A function without a rule is forbidden, whoever calls it as what.",
    "principals:storage": (
        "Of the storage function no other operation or table passes, nor a wider filter."
    ),
    "principals:arguments": "An argument without a rule is refused.",
    "principals:long-names": "A name that is too long is refused, with how long it may be.",
    "principals:refusals": "Refusals quote names as the principal chose them, and no other's.",
    "principals:indexes": "Vector indexes are a principal's own, and so is their list.",
    "principals:texts": "An index of texts is a principal's own, and so is what waits for it.",
    "principals:cache": "Cache keys are a principal's own; clearing clears no other's.",
    "principals:observations": "Observational memory is a principal's own.",
    "principals:meaning": (
        "Search by meaning finds, compares and counts as waiting a principal's own messages only."
    ),
    "principals:names": "What cannot be the name of a principal is refused.",
    "principals:stats": "Counts are of a principal's own.",
}
REQUIREMENTS: dict[str, Requirement] = {
    name: Requirement(behaviour, _NOT_HERE) for name, behaviour in _BEHAVIOURS.items()
}
