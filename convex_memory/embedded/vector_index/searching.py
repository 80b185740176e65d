"""The nearest rows, exactly: by codes first, then by their numbers.

Codes say of each row between which bounds its score lies. Every row whose upper bound reaches
the k-th best score is read and scored in float32: no row that belongs to the answer can be
missed, whatever the data. What is left out, is left out because it cannot be in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from convex_memory.embedded.documents import Documents
from convex_memory.embedded.vector_index.choosing import chosen
from convex_memory.embedded.vector_index.columns import Mask, read_document
from convex_memory.embedded.vector_index.following import Seen
from convex_memory.embedded.vector_index.kernel import Codes
from convex_memory.embedded.vector_index.quantising import closer_bounds, coded_query
from convex_memory.embedded.vector_index.scope import Scope, Scored
from convex_memory.embedded.vector_index.scoring import Floats, direction, scores_of, unit_rows
from convex_memory.embedded.vector_index.view import Sequences
from convex_memory.embedded.vector_index.wanted import Wanted

_READ_ROWS: Final = 1024
"""Rows read and scored at a time."""
_GATHER_PART: Final = 5
"""When no more than one in so many rows is selected, their codes are copied out and scanned."""
_LOOK_AHEAD: Final = 4
"""How many times as many rows as wanted are looked at first, where a filter has to read rows."""
_LOOK_AHEAD_PART: Final = 8
"""When more than one in so many rows would be looked at, the filter is asked about all."""
_CLOSER_LEAST: Final = 32
_CLOSER_MOST: Final = 16_384
"""How many candidates are worth a closer look at their codes before they are read."""
_GROUP: Final = 64


def nearest(
    documents: Documents,
    scope: Scope,
    query: Sequence[float],
    limit: int,
    *,
    wanted: Wanted | None = None,
    comparable_only: bool = False,
) -> list[Scored]:
    """See `vector_index.nearest`."""
    target = direction(query)
    if target is None and comparable_only:
        return []
    search = _search(documents, scope, query, target, wanted, comparable_only=comparable_only)
    return search.best(limit, wanted).listed()


def nearly_nearest(
    documents: Documents, scope: Scope, query: Sequence[float], limit: int
) -> tuple[list[Scored], bool]:
    """See `vector_index.nearly_nearest`."""
    search = _search(documents, scope, query, direction(query), None, comparable_only=False)
    best = search.best_of_lists(limit)
    if best is None:
        return search.best(limit, None).listed(), True
    return best.listed(), False


def _search(
    documents: Documents,
    scope: Scope,
    query: Sequence[float],
    target: Floats | None,
    wanted: Wanted | None,
    *,
    comparable_only: bool,
) -> _Search:
    fields = () if wanted is None else wanted.fields
    seen = documents.vectors.of(scope).seen(
        documents.connection, scope, len(query), fields, keep=not documents.writable
    )
    return _Search(documents, scope, seen, target, len(query), comparable_only)


def count(documents: Documents, scope: Scope, dimension: int) -> int:
    """See `vector_index.count`."""
    seen = documents.vectors.of(scope).seen(
        documents.connection, scope, dimension, keep=not documents.writable
    )
    if not seen.different and seen.upto == seen.view.moment.inserted:
        return seen.view.count
    return documents.count(scope.table, {scope.key: scope.name})


@dataclass(frozen=True, slots=True)
class _Best:
    """Rows with their scores, best first, equal ones in creation order."""

    sequence: Sequences
    score: Floats

    def first(self, limit: int) -> _Best:
        order = np.lexsort((self.sequence, -self.score))[:limit]
        return _Best(self.sequence[order], self.score[order])

    def listed(self) -> list[Scored]:
        return [
            Scored(sequence, score)
            for sequence, score in zip(self.sequence.tolist(), self.score.tolist(), strict=True)
        ]

    def and_also(self, other: _Best) -> _Best:
        return _Best(
            np.concatenate([self.sequence, other.sequence]),
            np.concatenate([self.score, other.score]),
        )


@dataclass(frozen=True, slots=True)
class _Among:
    """The rows to search.

    Attributes:
        at: Their places in the view; None for all, in order.
        codes: Their codes, in pieces.
        mask: Which of them take part; None for all.
    """

    at: NDArray[np.int64] | None
    codes: list[Codes]
    mask: Mask | None


@dataclass(frozen=True, slots=True)
class _Search:
    """One query in one transaction."""

    documents: Documents
    scope: Scope
    seen: Seen
    target: Floats | None
    dimension: int
    comparable_only: bool

    def best(self, limit: int, wanted: Wanted | None) -> _Best:
        view = self.seen.view
        mask = self._seen_rows()
        beside = self._different(wanted)
        if wanted is None:
            return self._of_codes(mask, limit).and_also(beside).first(limit)
        rows = chosen(wanted, view.columns, view.size)
        sure, possible = _both(mask, rows.sure), _both(mask, rows.possible)
        unsure = possible & ~sure
        if rows.sure is rows.possible or not unsure.any():
            return self._of_codes(sure, limit).and_also(beside).first(limit)
        found = self._looking_ahead(possible, limit, wanted)
        if found is None:
            found = self._of_codes(sure | self._asked(unsure, wanted), limit)
        return found.and_also(beside).first(limit)

    def best_of_lists(self, limit: int) -> _Best | None:
        """Return the best rows of the lists nearest to the query, and of those in no list yet.

        None where there are no lists, or not as many rows in them.
        """
        view = self.seen.view
        if view.lists is None or self.target is None:
            return None
        mask = self._seen_rows()
        if view.has_incomparable:
            mask = _both(mask, view.scale > 0)
        spans = [*view.lists.spans(self.target), (len(view.codes[0]), view.size)]
        at = np.concatenate([np.arange(*span) for span in spans])
        codes = [*(view.codes[0][slice(*span)] for span in spans[:-1]), *view.codes[1:]]
        best = self._certain_among(
            self.target, _Among(at, codes, None if mask is None else mask[at]), limit
        )
        if len(best.score) < limit:
            return None
        return best.and_also(self._different(None)).first(limit)

    # --- Which rows

    def _seen_rows(self) -> Mask | None:
        """Return the rows of the view that the transaction sees as the view does; None: all."""
        view, seen = self.seen.view, self.seen
        mask = view.live
        if seen.upto < view.moment.inserted:
            mask = _both(mask, view.sequence <= seen.upto)
        if self.scope.after and view.size and self.scope.after >= int(view.sequence.min()):
            mask = _both(mask, view.sequence > self.scope.after)
        if seen.different:
            mask = _both(mask, ~np.isin(view.sequence, np.asarray(seen.different)))
        return mask

    def _different(self, wanted: Wanted | None) -> _Best:
        """Return the rows to which the view does not apply, with their scores."""
        sequences = [each for each in self.seen.different if each > self.scope.after]
        blocks = [
            self._scored(at, blobs)
            for at, blobs in self._rows_of(sequences, wanted)
        ]  # fmt: skip
        return _joined(blocks)

    def _looking_ahead(self, possible: Mask, limit: int, wanted: Wanted) -> _Best | None:
        """Return the best rows that match, looking at the best rows one by one.

        None when too few of the best match.
        """
        asked = _LOOK_AHEAD * limit
        while asked * _LOOK_AHEAD_PART <= self.seen.view.size:
            best = self._of_codes(possible, asked)
            matching = self._matching(best.sequence, wanted)
            kept = np.isin(best.sequence, np.asarray(matching, dtype=np.int64))
            if int(kept.sum()) >= limit or len(best.sequence) < asked:
                return _Best(best.sequence[kept], best.score[kept])
            asked *= _LOOK_AHEAD
        return None

    def _asked(self, unsure: Mask, wanted: Wanted) -> Mask:
        """Return which rows match, having asked about each."""
        matching = self._matching(self.seen.view.sequence[unsure], wanted)
        mask: Mask = unsure & np.isin(self.seen.view.sequence, np.asarray(matching, dtype=np.int64))
        return mask

    # --- By codes

    def _of_codes(self, mask: Mask | None, limit: int) -> _Best:
        """Return the best `limit` rows of the view among those of a mask."""
        view = self.seen.view
        if self.target is None:
            return self._without_score(mask, limit)
        if view.has_incomparable:
            comparable = view.scale > 0
            best = self._certain(self.target, _both(mask, comparable), limit)
            if self.comparable_only:
                return best
            rest = ~comparable if mask is None else mask & ~comparable
            return best.and_also(self._without_score(rest, limit)).first(limit)
        return self._certain(self.target, mask, limit)

    def _without_score(self, mask: Mask | None, limit: int) -> _Best:
        sequence = self.seen.view.sequence
        among = np.sort(sequence if mask is None else sequence[mask])[:limit]
        return _Best(among, np.full(len(among), -1, dtype=np.float32))

    def _certain(self, target: Floats, mask: Mask | None, limit: int) -> _Best:
        view = self.seen.view
        among = _Among(None, list(view.codes), mask)
        if mask is not None:
            selected = int(mask.sum())
            if selected == 0:
                return _joined([])
            if selected * _GATHER_PART <= view.size:
                at = np.flatnonzero(mask)
                among = _Among(at, [view.gathered(at)], None)
        return self._certain_among(target, among, limit)

    def _certain_among(self, target: Floats, among: _Among, limit: int) -> _Best:
        view, at = self.seen.view, among.at
        scale, error = view.scale, view.error
        if at is not None:
            scale, error = scale[at], error[at]
        estimate, half = coded_query(target).bounds(among.codes, scale, error)
        if among.mask is not None:
            estimate[~among.mask] = -np.inf
        reached = _kth_largest(estimate - half, limit)
        estimate += half
        candidates = np.flatnonzero((estimate >= reached) & (estimate > -np.inf))
        found = candidates if at is None else at[candidates]
        upper = estimate[candidates]
        if _CLOSER_LEAST <= len(found) <= _CLOSER_MOST:
            estimate, half = closer_bounds(
                view.gathered(found), view.scale[found], view.error[found], target
            )
            upper = estimate + half
            reaching = upper >= _kth_largest(estimate - half, limit)
            found, upper = found[reaching], upper[reaching]
        order = np.argsort(-upper, kind="stable")
        return self._read(view.sequence[found[order]], upper[order], limit)

    def _read(self, sequences: Sequences, upper: Floats, limit: int) -> _Best:
        """Return the scores of candidates, best bound first, as far as they can matter."""
        best = _joined([])
        start = 0
        while start < len(sequences):
            if len(best.score) >= limit and upper[start] < best.score[limit - 1]:
                break
            stop = start + min(max(limit, 16), _READ_ROWS)
            if len(best.score) >= limit:
                # Sorted by bound: from here on, those above the k-th best score, and no more.
                reaching = int(np.searchsorted(-upper, -best.score[limit - 1], side="right"))
                stop = min(reaching, start + _READ_ROWS)
            blocks = [
                self._scored(at, blobs)
                for at, blobs in self._rows_of(sequences[start:stop].tolist(), None)
            ]
            best = _joined([best, *blocks]).first(limit)
            start = stop
        return best

    # --- Rows

    def _scored(self, sequences: Sequence[int], blobs: Sequence[bytes]) -> _Best:
        units, comparable = unit_rows(blobs, self.dimension)
        scores = np.full(len(blobs), -1, dtype=np.float32)
        if self.target is not None:
            scores[comparable] = scores_of(units, self.target)
        found = _Best(np.asarray(sequences, dtype=np.int64), scores)
        if self.comparable_only:
            return _Best(found.sequence[comparable], found.score[comparable])
        return found

    def _rows_of(
        self, sequences: Sequence[int], wanted: Wanted | None
    ) -> Iterator[tuple[list[int], list[bytes]]]:
        document = "1" if wanted is None else f'"{self.scope.document}"'
        for rows in self._selected(f'"embedding", {document}', sequences):
            kept = [row for row in rows if wanted is None or wanted.matches(read_document(row[2]))]
            if kept:
                yield [row[0] for row in kept], [row[1] for row in kept]

    def _matching(self, sequences: Sequences, wanted: Wanted) -> list[int]:
        return [
            row[0]
            for rows in self._selected(f'"{self.scope.document}"', sequences.tolist())
            for row in rows
            if wanted.matches(read_document(row[1]))
        ]

    def _selected(self, columns: str, sequences: Sequence[int]) -> Iterator[list[Any]]:
        sql = (
            f'SELECT "_sequence", {columns} FROM "{self.scope.table.name}" '
            'WHERE "_sequence" IN (SELECT value FROM json_each(?)) '
            f'AND +"{self.scope.key}" = ?'
        )
        for start in range(0, len(sequences), _READ_ROWS):
            part = json.dumps(sequences[start : start + _READ_ROWS])
            yield self.documents.connection.execute(sql, (part, self.scope.name)).fetchall()


def _both(mask: Mask | None, other: Mask) -> Mask:
    return other if mask is None else mask & other


def _joined(parts: Sequence[_Best]) -> _Best:
    return _Best(
        np.concatenate([np.empty(0, dtype=np.int64), *(each.sequence for each in parts)]),
        np.concatenate([np.empty(0, dtype=np.float32), *(each.score for each in parts)]),
    )


def _kth_largest(values: Floats, limit: int) -> float:
    """Return the `limit`-th largest value, or minus infinity when there are not as many."""
    if len(values) < limit:
        return -np.inf
    groups = len(values) // _GROUP
    if groups > limit:
        # As many groups have a value this large: the one sought is not below.
        largest = values[: groups * _GROUP].reshape(groups, _GROUP).max(axis=1)
        least = np.partition(largest, groups - limit)[groups - limit]
        values = values[values >= least]
    return float(np.partition(values, len(values) - limit)[len(values) - limit])
