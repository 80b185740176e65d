"""What the store promises about observational memory, scores and channels."""

from __future__ import annotations

from tests.contract.requirements import NO_CLOCK, OF_OTHERS, Requirement

_ANYWHERE = {
    # --- Observational memory
    "store:observations:domain": (
        "Observational memory is part of the memory domain, and the store has it by name."
    ),
    "store:observations:get": (
        "A memory is found by its thread or, without one, by its resource; absent it is None."
    ),
    "store:observations:initialize": (
        "A memory begins with an empty first generation, stored column by column as Mastra does."
    ),
    "store:observations:initialize:again": (
        "Beginning a memory twice makes two first generations, of which the later counts."
    ),
    "store:observations:insert": (
        "A whole record is read back as it was, without what Mastra's adapter leaves behind."
    ),
    "store:observations:insert:columns": "A whole record is stored as Mastra's adapter stores it.",
    "store:observations:read": (
        "Rows of other writers are read with Mastra's defaults; counts of 0 may be absent."
    ),
    "store:observations:read:invalid": "A row that is no record is an invalid response.",
    "store:observations:history": "The history is newest generation first, ten at a time.",
    "store:observations:history:dates": "The history is cut by creation date, both ends included.",
    "store:observations:history:pages": "The history is paged by limit and offset.",
    "store:observations:history:refusals": "A negative limit or offset is refused.",
    "store:observations:active": (
        "New active observations replace the text, count its tokens and clear what is pending."
    ),
    "store:observations:active:tokens": (
        "A token count that is not a finite number from 0 on counts as 0."
    ),
    "store:observations:active:timezone": "The time zone of new active observations is kept.",
    "store:observations:buffer": "Chunks wait in the buffer in the order they came.",
    "store:observations:buffer:ids": "A buffered chunk gets an id and a date of its own.",
    "store:observations:buffer:members": "Every member of a chunk comes back, or its absence.",
    "store:observations:buffer:time": "The buffered-at time changes only when it is given.",
    "store:observations:buffer:broken": "A buffer that is not a JSON array counts as empty.",
    "store:observations:buffer:refusals": (
        "A chunk that cannot be stored is refused, naming the key, and changes nothing."
    ),
    "store:observations:swap:empty": "Swapping an empty buffer activates nothing, writes nothing.",
    "store:observations:swap:whole": "A swap tells what it activated, chunk by chunk.",
    "store:observations:swap:part": "Chunks that are not activated stay in the buffer.",
    "store:observations:swap:boundary": (
        "Activated text follows the active text after a boundary with the date."
    ),
    "store:observations:swap:count": "As many chunks become active as the boundary rules say.",
    "store:observations:swap:dates": (
        "A swap observes up to the date given, else that of its last chunk, else now."
    ),
    "store:observations:swap:pending": "A swap takes its messages off what is pending, down to 0.",
    "store:observations:swap:hints": "A swap passes on the hints of its last chunk only.",
    "store:observations:swap:fresh": "A swap decides by the chunks that its caller sends.",
    "store:observations:swap:stale": (
        "Chunks that were activated or appended after the caller read the buffer are neither "
        "activated twice nor lost."
    ),
    "store:observations:swap:own": (
        "A list that shares nothing with the buffer replaces it, as the protocol has it."
    ),
    "store:observations:swap:refusals": "A swap without usable numbers is refused.",
    "store:observations:swap:exactly-once": (
        "Under any interleaving of appends and swaps every chunk is active once or waits once."
    ),
    "store:observations:swap:concurrent": (
        "Appends and swaps at the same time lose no chunk and activate none twice."
    ),
    "store:observations:reflect": "A reflection begins the next generation; the old one stays.",
    "store:observations:reflect:buffer": "Buffered reflections add up.",
    "store:observations:reflect:swap": (
        "A swapped reflection begins the next generation, followed by lines it does not cover."
    ),
    "store:observations:reflect:carried": (
        "The next generation takes over what the caller read, not what is stored."
    ),
    "store:observations:reflect:lines": "Uncovered lines are trimmed; covering all leaves none.",
    "store:observations:reflect:none": "Without a waiting reflection there is nothing to swap.",
    "store:observations:reflect:once": "Of swaps at the same time one begins a generation.",
    "store:observations:reflect:id": "A new generation cannot take the id of another.",
    "store:observations:flags": "Flags are set one by one, and stamp the record.",
    "store:observations:flags:absent": "Flags of an absent record are NotFound with Mastra's ids.",
    "store:observations:pending": "Pending tokens are set; what is no count has Mastra's id.",
    "store:observations:config": "A configuration is merged at every level.",
    "store:observations:config:text": "What is not a JSON object counts as an empty configuration.",
    "store:observations:clear": "Clearing a memory deletes all its generations and no others.",
    "store:observations:absent": (
        "Every operation on an absent record is NotFound and says which one."
    ),
    "wire:observations:tables": "Operations of observational memory belong to its table only.",
    "wire:observations:reads": "Answers of reads are documents with their system fields.",
    "wire:observations:columns": "A swap writes the columns that Mastra's function writes.",
    # --- Scores
    "store:scores:domain": "The store has its scores by name, and starts without a request.",
    "store:scores:save": "A saved score is read back as it was, with an id and dates of its own.",
    "store:scores:save:columns": "A score is stored column by column, absent members left out.",
    "store:scores:save:values": "Every JSON value in a score survives.",
    "store:scores:save:refusals": "A score that cannot be stored is refused, naming the key.",
    "store:scores:get": "A score that does not exist is None; system fields do not show.",
    "store:scores:read:invalid": "A row that is no score is an invalid response.",
    "store:scores:list:scorer": "Scores of a scorer are narrowed by entity, type and source.",
    "store:scores:list:run": "Scores of a run are listed.",
    "store:scores:list:entity": "Scores of an entity are those of its id and its type.",
    "store:scores:list:span": "Scores of a span are those of its trace and its id.",
    "store:scores:list:tenant": "Every list can be cut to an organization and a project.",
    "store:scores:list:any": "An empty name asks for any.",
    "store:scores:list:pages": "Pages tell their number, their size, the total and what follows.",
    "store:scores:list:refusals": "A page that cannot be is refused with Mastra's id.",
    "store:scores:list:index": "A list reads the rows of its index, not the whole table.",
    # --- Channels
    "store:channels:domain": "The store has its channels by name, and starts without a request.",
    "store:channels:save": "A saved installation is read back as it was.",
    "store:channels:save:columns": "An installation is stored as Mastra's adapter stores it.",
    "store:channels:save:id": "An installation without an id gets one.",
    "store:channels:save:data": "Every JSON object survives as the data of a channel.",
    "store:channels:save:refusals": "A status or data that cannot be is refused.",
    "store:channels:get": "An installation that does not exist is None.",
    "store:channels:read:invalid": "A row whose data is not a JSON object says whose it is.",
    "store:channels:agent:absent": "An agent that is not installed on a platform has None.",
    "store:channels:webhook:absent": "A webhook that nobody has leads to None.",
    "store:channels:delete": "Deleting an installation leaves the others; an absent one is fine.",
    "store:channels:config": "A platform has one configuration, saved with the date given.",
    "store:channels:config:columns": "A configuration's id is its platform.",
    "store:channels:config:delete": "A deleted configuration is gone; an absent one is fine.",
    "store:channels:list": "Installations of a platform are listed newest first.",
}
_WITH_A_CLOCK = {
    "store:observations:stamps": "Every change stamps the record it changes.",
    "store:scores:list:order": "Scores are listed newest first; those of one instant as they came.",
    "store:channels:save:again": (
        "Saving an installation again replaces it, keeps its creation date and stamps it."
    ),
    "store:channels:agent": (
        "Of an agent's installations the active one is found, then the pending, then the latest."
    ),
    "store:channels:webhook": "Of installations with one webhook the latest is found.",
}
_EMPTYING = {
    "store:observations:clear-all": "Clearing the memory domain clears observational memory.",
    "store:scores:clear-all": "Clearing the domain deletes every score.",
    "store:channels:clear-all": "Clearing the domain deletes installations and configurations.",
}

REQUIREMENTS: dict[str, Requirement] = {
    **{name: Requirement(text) for name, text in _ANYWHERE.items()},
    **{name: Requirement(text, NO_CLOCK) for name, text in _WITH_A_CLOCK.items()},
    **{name: Requirement(text, OF_OTHERS) for name, text in _EMPTYING.items()},
}
