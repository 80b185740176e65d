"""The `scores` toolset: what evaluations said of answers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, JsonValue

from convex_memory.errors import InvalidArgument, NotFound
from convex_memory.records import iso_text
from convex_memory.store.score_records import Score, ScorePage
from tools.adapters import Adapters
from tools.arguments import Cursor, Id, Limit, Metadata, cursor_after, page_in
from tools.toolset import Answer, Arguments, Progress, Toolset

scores = Toolset("scores")


class ShownScore(Answer):
    """One score."""

    id: str
    scorer_id: str
    run_id: str
    score: float
    created_at: str
    source: str
    reason: str | None = None
    entity_id: str | None = None
    entity_type: str | None = None
    thread_id: str | None = None


class SaveScoreArguments(Arguments):
    """Arguments of `save_score`."""

    scorer_id: Annotated[Id, Field(description="Which measure this is, for instance accuracy.")]
    run_id: Annotated[Id, Field(description="The run that was judged.")]
    score: float
    reason: str | None = None
    source: Annotated[str, Field(description="LIVE or TEST.")] = "LIVE"
    entity_id: Annotated[Id | None, Field(description="The agent or workflow judged.")] = None
    entity_type: str | None = None
    thread_id: Id | None = None
    input: JsonValue = None
    output: JsonValue = None
    metadata: Metadata | None = None


@scores.tool("Save a score")
async def save_score(
    arguments: SaveScoreArguments, adapters: Adapters, progress: Progress
) -> ShownScore:
    """Record how good something was. Every call adds a score."""
    saved = await adapters.store.scores.save_score(
        Score(
            scorer_id=arguments.scorer_id,
            run_id=arguments.run_id,
            score=arguments.score,
            reason=arguments.reason,
            source=arguments.source,
            entity_id=arguments.entity_id,
            entity_type=arguments.entity_type,
            thread_id=arguments.thread_id,
            resource_id=adapters.resource_id,
            input=arguments.input,
            output=arguments.output,
            metadata=arguments.metadata,
        )
    )
    return _shown(saved)


class ScoreArguments(Arguments):
    """Arguments of `get_score`."""

    score_id: Id


@scores.tool("Get a score", reads=True)
async def get_score(
    arguments: ScoreArguments, adapters: Adapters, progress: Progress
) -> ShownScore:
    """Read one score."""
    found = await adapters.store.scores.get_score_by_id(id=arguments.score_id)
    if found is None:
        raise NotFound(
            f"There is no score {arguments.score_id!a}. list_scores shows those there are."
        )
    return _shown(found)


class ListScoresArguments(Arguments):
    """Arguments of `list_scores`."""

    scorer_id: Id | None = None
    run_id: Id | None = None
    entity_id: Id | None = None
    entity_type: str | None = None
    limit: Limit = 20
    cursor: Cursor = None


class ListedScores(Answer):
    """A page of scores, newest first, and the mean of those on it."""

    scores: list[ShownScore]
    mean: float | None
    total: int
    next_cursor: str | None


@scores.tool("List scores", reads=True)
async def list_scores(
    arguments: ListScoresArguments, adapters: Adapters, progress: Progress
) -> ListedScores:
    """See the scores of one scorer, one run or one entity, newest first."""
    page = page_in(arguments.cursor)
    found = await _found(arguments, adapters, page)
    values = [score.score for score in found.scores]
    return ListedScores(
        scores=[_shown(score) for score in found.scores],
        mean=sum(values) / len(values) if values else None,
        total=found.total,
        next_cursor=cursor_after(page, arguments.limit, found.total),
    )


async def _found(arguments: ListScoresArguments, adapters: Adapters, page: int) -> ScorePage:
    store, limit = adapters.store.scores, arguments.limit
    if arguments.scorer_id is not None:
        return await store.list_scores_by_scorer_id(
            scorer_id=arguments.scorer_id,
            entity_id=arguments.entity_id,
            entity_type=arguments.entity_type,
            page=page,
            per_page=limit,
        )
    if arguments.run_id is not None:
        return await store.list_scores_by_run_id(run_id=arguments.run_id, page=page, per_page=limit)
    if arguments.entity_id is not None:
        return await store.list_scores_by_entity_id(
            entity_id=arguments.entity_id,
            entity_type=arguments.entity_type,
            page=page,
            per_page=limit,
        )
    raise InvalidArgument("Give scorer_id, run_id or entity_id: whose scores to list.")


def _shown(score: Score) -> ShownScore:
    return ShownScore(
        id=score.id,
        scorer_id=score.scorer_id,
        run_id=score.run_id,
        score=score.score,
        created_at=iso_text(score.created_at),
        source=score.source,
        reason=score.reason,
        entity_id=score.entity_id,
        entity_type=score.entity_type,
        thread_id=score.thread_id,
    )
