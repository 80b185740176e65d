"""What texts that wait for their vectors promise."""

from __future__ import annotations

from tests.contract.requirements import LIVE, Requirement

_ELSEWHERE = {
    "mastra": "there is no function of ours, and the protocol has nothing that could stand in",
    **dict.fromkeys(LIVE, "what embeds messages is one for all who use the deployment"),
}

REQUIREMENTS: dict[str, Requirement] = {
    name: Requirement(behaviour, _ELSEWHERE)
    for name, behaviour in {
        "embeddings:off": "Before somebody begins, no message waits for a vector.",
        "embeddings:begin": "From the first beginning on every message waits, whoever saves it.",
        "embeddings:begin:other": "Another embedder is refused; it is handed no texts.",
        "embeddings:begin:switch": "A changed embedder has every message embedded anew.",
        "embeddings:begin:same-size": "Vectors of an earlier embedder are never compared.",
        "embeddings:foreign": "Vectors that were in the index before are not compared.",
        "embeddings:claim": "Texts are handed out once, newest first, as many as asked for.",
        "embeddings:claim:nothing": "A message without text waits for nothing.",
        "embeddings:claim:lease": "A claim that has run out is handed out again.",
        "embeddings:release": "What is given back is handed out again at once.",
        "embeddings:store": "A stored vector is found, with the metadata that Mastra gives it.",
        "embeddings:store:twice": "A vector is stored once for a claim.",
        "embeddings:store:refusals": "A refused vector changes nothing.",
        "embeddings:stale": "A vector of what a message said before is dropped.",
        "embeddings:edited": "What a message said before is not found while it waits.",
        "embeddings:deleted": "A vector goes with its message, and with its thread.",
        "embeddings:expired": "A vector expires with its message, and with its thread.",
        "embeddings:restored": "A message that is restored waits for its vector.",
        "embeddings:superseded": "A superseded message has no vector, and waits for none.",
        "embeddings:status": "Everything that waits is counted, by index and by embedder.",
        "embeddings:arguments": "Limits and leases out of range are refused.",
        "embeddings:texts": "An index of texts keeps them, and belongs to one embedder.",
        "embeddings:texts:refusals": "Texts and vectors of another origin never mix.",
        "embeddings:texts:metadata": "Changed metadata leaves the vector and its text.",
        "embeddings:texts:reembed": "An index of texts is embedded anew by another embedder.",
        "embeddings:texts:gone": "What was deleted is not embedded anew.",
        "embeddings:texts:emptied": "An emptied index belongs to nobody.",
    }.items()
}
