"""What changing, deleting for a while, expiry and superseding promise."""

from __future__ import annotations

from tests.contract.requirements import NO_CLOCK, Requirement

_OURS = {"mastra": "there is no function of ours, and the protocol keeps nothing that is deleted"}
_OURS_AND_CLOCK = {**_OURS, **NO_CLOCK}

REQUIREMENTS: dict[str, Requirement] = {
    "forgetting:update:text": Requirement(
        "A message says something else and keeps its place; its thread's date is new."
    ),
    "forgetting:update:search": Requirement("Search follows what a message says."),
    "forgetting:update:metadata": Requirement(
        "Members of a message's metadata are set one by one; None removes one."
    ),
    "forgetting:update:absent": Requirement("A message of another is as absent as one that is."),
    "forgetting:update:nothing": Requirement("A change of nothing is refused."),
    "forgetting:mastra": Requirement(
        "Without our functions a deletion is for good and says so; expiry is refused."
    ),
    **{
        name: Requirement(behaviour, _OURS)
        for name, behaviour in {
            "forgetting:messages:gone": "A deleted message is nowhere, not on the wire either.",
            "forgetting:messages:restore": "A restored message is back in its place, everywhere.",
            "forgetting:messages:again": "Deleting or restoring twice does it once.",
            "forgetting:messages:permanent": "What is deleted for good cannot be restored.",
            "forgetting:messages:others": "Only who it belongs to deletes or restores a message.",
            "forgetting:messages:taken": "A message whose id is used anew is not restored over it.",
            "forgetting:messages:thread": "A message comes back only while its thread is there.",
            "forgetting:messages:any": "Whatever is deleted and restored, all is as it was.",
            "forgetting:threads:gone": "A deleted thread is nowhere, nor are its messages.",
            "forgetting:threads:restore": "A restored thread is as it was, with its messages.",
            "forgetting:threads:apart": "A message deleted before its thread stays deleted.",
            "forgetting:threads:anew": "A thread that was begun anew is not restored over.",
            "forgetting:threads:again": "Deleting or restoring a thread twice does it once.",
            "forgetting:threads:permanent": "A thread deleted for good cannot be restored.",
            "forgetting:threads:others": "Only who it belongs to deletes or restores a thread.",
            "forgetting:threads:owners": "Whoever uses a deleted thread's id takes nothing away.",
            "forgetting:expiry:change": "A time of expiry can be set, changed and taken away.",
            "forgetting:expiry:refusals": "A time of expiry that is none is refused.",
            "forgetting:supersede:search": "A superseded message is not found, and stays.",
            "forgetting:supersede:back": "When the one that superseded it goes, it is found.",
            "forgetting:supersede:chain": "Of messages that supersede one another the last counts.",
            "forgetting:supersede:thread": "A restored thread has the superseded messages it had.",
            "forgetting:supersede:owners": "An id that is another's now supersedes nothing.",
            "forgetting:supersede:update": "A superseded message that is changed is not found.",
            "forgetting:supersede:clone": "Copies supersede copies, and expire as originals do.",
            "forgetting:supersede:again": "Saving the same again changes nothing.",
            "forgetting:supersede:refusals": "What is absent, another's, or later stays as it is.",
        }.items()
    },
    **{
        name: Requirement(behaviour, _OURS_AND_CLOCK)
        for name, behaviour in {
            "forgetting:messages:late": "What was deleted too long ago cannot be restored.",
            "forgetting:threads:late": "A thread deleted too long ago cannot be restored.",
            "forgetting:sweep": "What is due is swept in batches, and then there is nothing.",
            "forgetting:expiry:messages": "A message is gone from its time of expiry on.",
            "forgetting:expiry:threads": "A thread is gone with its messages from its time on.",
            "forgetting:expiry:wire": "What has expired is gone on the wire, too.",
            "forgetting:expiry:deleted": "What expires while it is deleted is not restored.",
            "forgetting:expiry:supersede": "What an expired message had superseded is found.",
        }.items()
    },
}
