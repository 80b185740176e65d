"""`memory/transfer:*`: every row out of a deployment, and into one.

Rows travel as text (`row_text`), without the fields that a deployment gives them. What is derived
from rows does not travel: whoever stores them derives it. Rows that only wait to be removed are as
if they were not there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from convex_memory.embedded.documents import Documents, Record, Row
from convex_memory.embedded.functions.function import (
    Args,
    allow_only,
    choice_argument,
    text_argument,
    whole_argument,
)
from convex_memory.embedded.functions.memory.rows import read_cursor, removed_upto, write_cursor
from convex_memory.embedded.functions.memory.transfer_native import (
    native_named,
    native_tables,
    no_table,
)
from convex_memory.embedded.functions.memory.transfer_notes import NAMES, NoteReader, checked
from convex_memory.embedded.functions.memory.transfer_targets import (
    Outcome,
    Policy,
    Target,
    is_dead,
    list_length,
    target_named,
)
from convex_memory.embedded.tables import (
    CACHE,
    CACHE_LIST_ITEMS,
    MESSAGES,
    NATIVE_VECTORS,
    TABLES,
    VECTORS,
    Table,
)
from convex_memory.errors import FunctionError, InvalidArgument
from convex_memory.limits import TRANSFER_BYTES_MAX, TRANSFER_ROWS_MAX
from convex_memory.row_text import read_row, row_text
from convex_memory.values import Value


def tables(documents: Documents, args: Args) -> Value:
    """Return the tables whose rows move, how many each has, and what values are held here."""
    allow_only(args)
    described: list[Value] = [
        {"table": table.name, "rows": documents.count(table, {})}
        for table in TABLES.values()
        if table is not NATIVE_VECTORS
    ]
    described += [
        {
            "table": each.name,
            "rows": documents.count(NATIVE_VECTORS, {"table": each.name}),
            "native": {
                "dimension": each.dimension,
                "idField": each.id_field,
                "vectorField": each.vector_field,
            },
        }
        for each in native_tables(documents)
    ]
    return {
        "deployment": "embedded",
        "tables": described,
        "leftOut": [],
        "dimensions": None,
        "specialValues": False,
        "notes": list(NAMES),
    }


# --- Out


def page(documents: Documents, args: Args) -> Value:
    """Return the next rows of a table, in the order in which they were created."""
    allow_only(args, "table", "limit", "bytesMax", "cursor")
    name = text_argument(args, "table")
    limit = whole_argument(args, "limit", 1, TRANSFER_ROWS_MAX, TRANSFER_ROWS_MAX)
    bytes_max = whole_argument(args, "bytesMax", 1, TRANSFER_BYTES_MAX, TRANSFER_BYTES_MAX)
    question = f"transfer:{name}"
    position = read_cursor(args, question, (int,))
    last = position[0] if position else 0
    source = _source(documents, name)
    texts: list[Value] = []
    notes: list[Value] = []
    looked_at = size = 0
    for row in documents.scan(
        source.table, source.equals, where='"_sequence" > ?', bound=(last,), limit=limit
    ):
        looked_at += 1
        last = row.sequence
        if source.shows(row):
            text = row_text(source.fields(row))
            noted = source.notes(row)
            if noted:
                notes.append([len(texts), row_text(noted)])
            texts.append(text)
            size += len(text) + len(noted.get("text", ""))
        if size >= bytes_max:
            break
    more = looked_at == limit or size >= bytes_max
    cursor = write_cursor(question, last) if more else None
    return {"rows": texts, "notes": notes, "cursor": cursor}


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the rows of a table come from: which are shown, what of each, and what is noted."""

    table: Table
    equals: Mapping[str, Value]
    shows: Callable[[Row], bool]
    fields: Callable[[Row], Record]
    notes: Callable[[Row], Record]


def _source(documents: Documents, name: str) -> _Source:
    table = TABLES.get(name)
    if table is not None and table is not NATIVE_VECTORS:
        reader = NoteReader(documents)
        return _Source(
            table,
            {},
            _Visible(documents, reader).rule(table),
            lambda row: row.fields,
            lambda row: reader.of(table, row),
        )
    native = native_named(documents, name)
    if native is None:
        raise no_table(name)
    return _Source(NATIVE_VECTORS, {"table": name}, _always, native.whole, lambda row: {})


def _always(row: Row) -> bool:
    return True


class _Visible:
    """Which rows are there for whoever looks, asked once for all that hang together."""

    def __init__(self, documents: Documents, notes: NoteReader) -> None:
        self._documents = documents
        self._notes = notes
        self._upto: dict[str, int] = {}
        self._lengths: dict[str, float | None] = {}

    def rule(self, table: Table) -> Callable[[Row], bool]:
        """Return what tells the rows of a table that are shown."""
        rules: Mapping[Table, Callable[[Row], bool]] = {
            MESSAGES: self._message,
            VECTORS: self._vector,
            CACHE: self._key,
            CACHE_LIST_ITEMS: self._item,
        }
        return rules.get(table, _always)

    def _message(self, row: Row) -> bool:
        thread = row.fields["thread_id"]
        if thread not in self._upto:
            self._upto[thread] = removed_upto(self._documents, thread)
        return row.sequence > self._upto[thread]

    def _vector(self, row: Row) -> bool:
        return not self._notes.is_stale(row)

    def _key(self, row: Row) -> bool:
        return not is_dead(self._documents, row.fields)

    def _item(self, row: Row) -> bool:
        key = row.fields["key"]
        if key not in self._lengths:
            self._lengths[key] = list_length(self._documents, key)
        length = self._lengths[key]
        return length is not None and bool(row.fields["index"] < length)


# --- In


def restore(documents: Documents, args: Args) -> Value:
    """Store rows by their keys, from the first on; none of them when one is refused."""
    allow_only(args, "table", "rows", "notes", "native", "onExisting", "dryRun")
    name = text_argument(args, "table")
    rows = args.get("rows")
    if not isinstance(rows, list) or len(rows) > TRANSFER_ROWS_MAX:
        raise InvalidArgument(f"rows must be an array of at most {TRANSFER_ROWS_MAX} rows.")
    replace = choice_argument(args, "onExisting", ("keep", "replace")) == "replace"
    dry_run = changes_nothing(args)
    if not dry_run:
        documents.will_write()
    target = target_named(documents, name, args.get("native"), Policy(replace, dry_run))
    noted = _notes_argument(args, len(rows))
    outcomes: list[Outcome] = []
    for position, text in enumerate(rows):
        outcome = _restored(target, position, text, noted.get(position))
        if outcome is None:
            break
        outcomes.append(outcome)
    answer: dict[str, Value] = {"done": len(outcomes)}
    for each in _COUNTED:
        answer[each] = outcomes.count(each)
    answer["kept"] = [at for at, outcome in enumerate(outcomes) if outcome == "kept"]
    return answer


_COUNTED: Final[tuple[Outcome, ...]] = ("stored", "replaced", "unchanged", "dropped")


def _restored(target: Target, position: int, text: Any, noted: Any) -> Outcome | None:
    try:
        if not isinstance(text, str):
            raise InvalidArgument("A row must be the JSON text of an object.")
        notes = {} if noted is None else checked(target.table, read_row(noted))
        return target.restore(read_row(text), notes)
    except FunctionError as error:
        details = {**error.details, "position": position}
        raise type(error)(f"rows[{position}]: {error.message}", details=details) from error


def _notes_argument(args: Args, rows: int) -> dict[int, str]:
    """Return the notes in `[[position, text]…]`, by position."""
    pairs = args.get("notes") or []
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], str) for pair in pairs
    ):
        raise InvalidArgument("notes must be pairs of the position of a row and text.")
    return {
        whole_argument({"position": pair[0]}, "position", 0, max(0, rows - 1)): pair[1]
        for pair in pairs
    }


def changes_nothing(args: Args) -> bool:
    """Whether a call of `restore` only says what it would do."""
    return args.get("dryRun") is True
