"""What moving rows out of a deployment, and into one, promises."""

from __future__ import annotations

from tests.contract.requirements import LIVE, Requirement

_ELSEWHERE = {
    "mastra": "there is no function of ours, and the protocol has nothing that could stand in",
    **dict.fromkeys(LIVE, "it writes rows past what cleans up after a test there"),
}

REQUIREMENTS: dict[str, Requirement] = {
    name: Requirement(behaviour, _ELSEWHERE)
    for name, behaviour in {
        "transfer:tables": "Every table of the protocol is named, and each native vector table.",
        "transfer:round-trip": "A row of any table comes out as it went in, and in its place.",
        "transfer:values": "Any value that a document holds comes out as it went in.",
        "transfer:again": "Storing rows again changes nothing, and says so.",
        "transfer:keep": "A row that is there with other content is kept unless told otherwise.",
        "transfer:replace": "A replaced row has the fields of the new one and no others.",
        "transfer:dry-run": "A dry run says what would be done and does nothing of it.",
        "transfer:derived": "What is derived from rows is there as soon as they are stored.",
        "transfer:pages": "Pages are as long as asked for; rows written meanwhile break nothing.",
        "transfer:pages:large": "Rows of almost 1 MiB move like others.",
        "transfer:removed:messages": "Messages of a thread that is gone do not move, nor hinder.",
        "transfer:cache:dead": "Expired and deleted entries of the cache do not move, nor hinder.",
        "transfer:cache:lists": "A list is never longer than it says, whatever it replaces.",
        "transfer:notes": "What is noted of a row comes out as it went in.",
        "transfer:notes:expiry": "What has expired does not move, and never lives on.",
        "transfer:notes:succession": "What was superseded is not searched where it arrives.",
        "transfer:notes:embedders": "Vectors of different origin are not mixed.",
        "transfer:notes:messages": "A message whose vector moves is not embedded again.",
        "transfer:native": "Rows of a native vector table move whole.",
        "transfer:native:refusals": "Another dimension or other fields are refused.",
        "transfer:refusals": "A row that is not allowed is named by its position; none is stored.",
        "transfer:conflicts": "What would mix threads or vectors of different owners is refused.",
        "transfer:arguments": "Tables, cursors and sizes that are none are refused.",
    }.items()
}
