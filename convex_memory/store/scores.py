"""The scores domain: what evaluations said, by scorer, run, entity or span."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from convex_memory.errors import InvalidArgument, LimitExceeded
from convex_memory.limits import QUERY_ROWS_MAX, SAFE_INTEGER_MAX
from convex_memory.store.answers import PerPage
from convex_memory.store.domain import MemoryDomain
from convex_memory.store.score_records import Score, ScoreFilter, ScorePage
from convex_memory.store.selection import Window
from convex_memory.values import Value

SCORERS: Final = "mastra_scorers"
SCORES_PER_PAGE: Final = 100
_PAGINATION: Final = "MASTRA_STORAGE_CONVEX_LIST_SCORES_INVALID_PAGINATION"


class ScoreStore(MemoryDomain):
    """Scores: save, read, list.

    The lists are numbered pages, newest first. All matching scores are read to sort and count
    them, through the index that fits the question.
    """

    async def init(self) -> None:
        """Do nothing: the tables belong to the deployment."""

    async def dangerously_clear_all(self) -> None:
        """Delete every score of the deployment."""
        await self._storage.clear(SCORERS)

    async def save_score(self, score: Score) -> Score:
        """Store a new score; its id and dates are made here, whatever it came with.

        Returns:
            The score as it was saved.

        Raises:
            InvalidArgument: A value cannot be stored.
            LimitExceeded: A value is nested too deeply or has too many members.
        """
        now = self._now()
        saved = replace(score, id=self._new_id(), created_at=now, updated_at=now)
        await self._storage.run("insert", SCORERS, record=saved.to_row())
        return saved

    async def get_score_by_id(self, *, id: str) -> Score | None:
        """Return a score, or None when there is none."""
        row = await self._storage.run("load", SCORERS, keys={"id": id})
        return None if row is None else Score.from_row(row)

    async def list_scores_by_scorer_id(
        self,
        *,
        scorer_id: str,
        page: int = 0,
        per_page: PerPage | None = None,
        entity_id: str | None = None,
        entity_type: str | None = None,
        source: str | None = None,
        filters: ScoreFilter | None = None,
    ) -> ScorePage:
        """Return a page of the scores that one scorer gave.

        Args:
            scorer_id: The scorer; this and the next three, where empty, ask for any.
            page: Which page, from zero.
            per_page: Scores on a page: a number, 0 for none, `False` for all, None for 100.
            entity_id: Only scores of this agent or workflow.
            entity_type: Only scores of this kind of thing.
            source: Only scores from here.
            filters: Only scores of this tenant.

        Raises:
            InvalidArgument: The page is not one.
            LimitExceeded: 10,000 scores or more match.
        """
        wanted = {
            "scorerId": scorer_id,
            "entityId": entity_id,
            "entityType": entity_type,
            "source": source,
        }
        return await self._page(wanted, page, per_page, filters)

    async def list_scores_by_run_id(
        self,
        *,
        run_id: str,
        page: int = 0,
        per_page: PerPage | None = None,
        filters: ScoreFilter | None = None,
    ) -> ScorePage:
        """Return a page of the scores of one run; see `list_scores_by_scorer_id`."""
        return await self._page({"runId": run_id}, page, per_page, filters)

    async def list_scores_by_entity_id(
        self,
        *,
        entity_id: str,
        entity_type: str | None,
        page: int = 0,
        per_page: PerPage | None = None,
        filters: ScoreFilter | None = None,
    ) -> ScorePage:
        """Return a page of the scores of one entity; see `list_scores_by_scorer_id`."""
        wanted = {"entityId": entity_id, "entityType": entity_type}
        return await self._page(wanted, page, per_page, filters)

    async def list_scores_by_span(
        self,
        *,
        trace_id: str,
        span_id: str,
        page: int = 0,
        per_page: PerPage | None = None,
        filters: ScoreFilter | None = None,
    ) -> ScorePage:
        """Return a page of the scores of one span of a trace; see `list_scores_by_scorer_id`."""
        wanted = {"traceId": trace_id, "spanId": span_id}
        return await self._page(wanted, page, per_page, filters)

    async def _page(
        self,
        wanted: Mapping[str, str | None],
        page: int,
        per_page: PerPage | None,
        filters: ScoreFilter | None,
    ) -> ScorePage:
        window = _window(page, per_page)
        equals: dict[str, Value] = {name: value for name, value in wanted.items() if value}
        equals |= (filters or ScoreFilter()).to_fields()
        rows = await self._storage.some_rows(SCORERS, QUERY_ROWS_MAX, **equals)
        if len(rows) >= QUERY_ROWS_MAX:
            raise LimitExceeded(
                f"{QUERY_ROWS_MAX} scores or more match; numbered pages need all of them at "
                "once. Ask for one entity, source, organization or project."
            )
        scores = sorted(map(Score.from_row, rows), key=lambda score: score.created_at, reverse=True)
        end = None if window.per_page is False else window.offset + window.per_page
        return ScorePage(
            scores=scores[window.offset : end],
            total=len(scores),
            page=window.page,
            per_page=window.per_page,
            has_more=window.has_next(len(scores)),
        )


def _window(page: int, per_page: PerPage | None) -> Window:
    size = SCORES_PER_PAGE if per_page is None else per_page
    if not _is_whole(page) or page < 0:
        raise InvalidArgument("page must be >= 0.", id=_PAGINATION, details={"page": str(page)})
    if size is not False and not _is_whole(size):
        raise InvalidArgument("per_page must be False or a safe integer.", id=_PAGINATION)
    if size < 0:
        raise InvalidArgument("per_page must be >= 0.", id=_PAGINATION)
    offset = 0 if size is False else page * size
    if offset >= SAFE_INTEGER_MAX:
        raise InvalidArgument("page value too large.", id=_PAGINATION)
    return Window(page, size, offset)


def _is_whole(value: object) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and abs(value) < SAFE_INTEGER_MAX  # type: ignore[arg-type]
