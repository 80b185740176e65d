"""What the storage function promises on the wire, for typed tables and for documents."""

from __future__ import annotations

from collections.abc import Mapping

from tests.contract.requirements import LIVE, NO_CLOCK, OF_OTHERS, Requirement

_ROWS = dict.fromkeys(("convex-test", *LIVE), "an answer of Convex holds at most 8,192 rows")
_FRACTIONS = {
    **dict.fromkeys(("convex-test", "mastra"), "the clock of JavaScript has whole milliseconds"),
    **NO_CLOCK,
}


def _required(behaviour: str, excluded: Mapping[str, str] = OF_OTHERS) -> Requirement:
    return Requirement(behaviour, excluded)


REQUIREMENTS: dict[str, Requirement] = {
    # --- The envelope
    "wire:envelope": _required("Replies are the protocol's envelopes, soft errors successes."),
    "wire:table-name": _required("A request without a table is a soft error."),
    "wire:routing": _required("Any name that is not of the protocol is a table of documents."),
    "wire:unknown": _required("An unknown operation is a soft error on every table."),
    "wire:other-table": _required("An update of another table is softly refused by its name."),
    "wire:arguments": _required("Malformed arguments are refused by their name."),
    "wire:any-json": _required("Whatever arguments arrive are answered or refused."),
    # --- Errors
    "wire:hard-error": _required("A failure on typed tables and documents fails the call."),
    "wire:soft-error": _required("A failure on background tasks and vectors is an answer."),
    "wire:rollback": _required("A call that fails leaves nothing of itself."),
    "wire:rollback:documents": _required("Nor does one that writes documents."),
    "wire:rollback:soft": _required("Nor does one that is softly refused."),
    # --- What rows may hold
    "wire:schema": _required("A row is read back as it was written."),
    "wire:schema:required": _required("A row without a required field is refused."),
    "wire:schema:type": _required("A value of another type, or a null undeclared, is refused."),
    "wire:schema:closed": _required("A field that is not declared is refused."),
    "wire:schema:numbers": _required("Numbers are read back and found exactly."),
    "wire:schema:text": _required("Any text is read back and found."),
    "wire:limits": _required("Documents keep Convex's limits of size, depth and width."),
    "wire:names": _required("Field names are ASCII without control characters and leading $."),
    "wire:system-fields": _required("_id and _creationTime are given once, rising, and stay."),
    "wire:system-fields:new": _required("A new row cannot bring system fields."),
    "wire:system-fields:clock": _required("A creation time is that of the clock.", NO_CLOCK),
    "wire:system-fields:fractions": _required(
        "Creation times keep fractions of a millisecond.", _FRACTIONS
    ),
    "wire:system-fields:written": _required("System fields may be written back, not changed."),
    # --- Operations
    "wire:insert": _required("insert over a row changes the fields given."),
    "wire:insert:refusals": _required("insert over a row may not break it."),
    "wire:insert:missing-id": _required("insert without an id is refused."),
    "wire:batch": _required("batchInsert is insert after insert, duplicates coalesced."),
    "wire:patch": _required("patch changes fields and says whether there was a row."),
    "wire:load": _required("load finds by id, else the oldest row that equals the keys."),
    "wire:load:run": _required("load finds a workflow snapshot by workflow and run."),
    "wire:load-many": _required("loadMany answers up to ten ids in their order, once each."),
    "wire:delete-many": _required("deleteMany deletes the rows there are, any number."),
    "wire:clear": _required("clearTable and dropTable delete 25 rows, hasMore beyond that."),
    "wire:update-thread": _required("updateThread sets the title and merges metadata."),
    "wire:update-thread:refusals": _required("An update that breaks a thread changes nothing."),
    "wire:update-thread:text:refusals": _required(
        "Metadata text whose object cannot be stored is refused by the key."
    ),
    "wire:update-thread:text": _required("Stored metadata may be JSON text; else it is empty."),
    "wire:update-resource": _required("updateResource creates, or keeps what is not given."),
    # --- queryTable
    "wire:query:order": _required("Rows come in the order of the index, else of creation."),
    "wire:query:index": _required("The index that the filters cover best is read."),
    "wire:query:ties": _required("Equal rows of an index come in creation order."),
    "wire:query:equality": _required("Filters are strict equality of values and types."),
    "wire:query:equality:nested": _required("Objects and arrays equal nothing."),
    "wire:query:null": _required("A null filter matches null and not a missing field."),
    "wire:query:duplicates": _required("Of filters on one indexed field the last counts."),
    "wire:query:limit": _required("A limit cuts; none and zero do not."),
    "wire:query:limit:fractions": _required("A limit is cut to a whole number."),
    "wire:query:limit:refusals": _required("A limit that is negative or no number is refused."),
    "wire:query:cap": _required("A query answers ten thousand rows at most.", _ROWS),
    "wire:query:filters": _required("Filters are a list of field and value."),
    "wire:query:filters:refusals": _required("Malformed filters are refused."),
    "wire:query:hint": _required("A hint replaces the choice of an index."),
    "wire:query:hint:refusals": _required("A hint for an index that the table lacks is refused."),
    # --- Documents
    "wire:documents": _required("Documents are stored whole under the text of their id."),
    "wire:documents:query": _required("Documents are taken twice the limit, then filtered."),
    "wire:documents:cap": _required("A query reads ten thousand documents at most."),
}
