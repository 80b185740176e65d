"""Scores of the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convex_memory.deployment import Deployment, Kind
from convex_memory.errors import (
    FunctionError,
    InvalidArgument,
    InvalidResponse,
    LimitExceeded,
)
from convex_memory.store import ConvexStore, Score, ScoreFilter, ScorePage, ScoreStore
from convex_memory.values import Value
from tests.contract.conversations import StockDeployment
from tests.contract.legs import Clock
from tests.contract.requirements import requirement
from tests.contract.wire import Wire, bare

pytestmark = pytest.mark.anyio

SCORERS = "mastra_scorers"


@pytest.fixture
def wire(deployment: Deployment) -> Wire:
    return Wire(deployment)


@pytest.fixture
def scores(deployment: Deployment, clock: Clock) -> ScoreStore:
    """The domain over Mastra's functions alone: it needs no others."""
    return ConvexStore(StockDeployment(deployment), now_ms=clock.now_ms).scores


def score(namespace: str, number: float = 0.5, **members: Any) -> Score:
    """A score of one run of an agent."""
    given: dict[str, Any] = {
        "scorer_id": f"{namespace}-scorer",
        "run_id": f"{namespace}-run",
        "entity_id": f"{namespace}-agent",
        "entity_type": "AGENT",
        "source": "TEST",
        "scorer": {"id": "scorer", "name": "Tone"},
        "input": [{"role": "user", "content": "hi"}],
        "output": {"text": "hello"},
        "entity": {"id": "agent"},
        **members,
    }
    return Score(score=number, **given)


def whole_score(namespace: str) -> Score:
    """A score with something in every member."""
    texts: dict[str, Any] = {
        each.name: f"{namespace}-{each.name}" for each in fields(Score) if each.type == "str | None"
    }
    values: dict[str, Any] = {
        each.name: {"of": each.name, "list": [1, None, 0.5, True]}
        for each in fields(Score)
        if each.type == "Value"
    }
    return Score(
        scorer_id=f"{namespace}-scorer",
        run_id=f"{namespace}-run",
        source="LIVE",
        score=0.25,
        **texts,
        **values,
    )


# --- Saving, reading


@requirement("store:scores:domain")
async def test_a_store_has_its_scores(deployment: Deployment) -> None:
    counted = StockDeployment(deployment)
    store = ConvexStore(counted)
    assert store.get_store("scores") is store.scores
    await store.scores.init()
    assert counted.operations == []


@requirement("store:scores:save")
async def test_a_saved_score_is_read_back(scores: ScoreStore, clock: Clock, namespace: str) -> None:
    given = replace(whole_score(namespace), id="mine")
    assert all(getattr(given, each.name) is not None for each in fields(given))
    saved = [await scores.save_score(given) for _ in range(2)]
    assert len({saved[0].id, saved[1].id, "mine"}) == 3
    for each in saved:
        assert each.created_at == each.updated_at
        assert each.created_at.timestamp() * 1000 == clock.now_ms()
        assert await scores.get_score_by_id(id=each.id) == each
        assert (
            replace(each, id="mine", created_at=given.created_at, updated_at=given.updated_at)
            == given
        )


@requirement("store:scores:save:columns")
async def test_a_score_is_stored_column_by_column(
    scores: ScoreStore, wire: Wire, namespace: str, clock: Clock
) -> None:
    saved = await scores.save_score(
        Score(scorer_id=namespace, run_id="r", source="TEST", score=1, reason="clear")
    )
    time = clock.now_text()
    assert bare(await wire.load(SCORERS, id=saved.id)) == {
        "id": saved.id,
        "scorerId": namespace,
        "runId": "r",
        "source": "TEST",
        "score": 1,
        "reason": "clear",
        "scorer": {},
        "input": None,
        "output": None,
        "createdAt": time,
        "updatedAt": time,
    }
    whole = await scores.save_score(whole_score(namespace))
    row = bare(await wire.load(SCORERS, id=whole.id))
    assert len(row) == len(fields(Score))
    assert row["generateReasonPrompt"] == f"{namespace}-generate_reason_prompt"
    assert row["datasetItemId"] == f"{namespace}-dataset_item_id"
    assert row["preprocessStepResult"]["of"] == "preprocess_step_result"


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: number % 1 != 0)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda values: (
        st.lists(values, max_size=3)
        | st.dictionaries(st.text("abcXYZ 09_.-", min_size=1, max_size=6), values, max_size=3)
    ),
    max_leaves=6,
)


@requirement("store:scores:save:values")
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(input=JSON_VALUES, output=JSON_VALUES, metadata=JSON_VALUES, number=st.floats(-1e9, 1e9))
async def test_every_json_value_survives(
    scores: ScoreStore, namespace: str, input: Value, output: Value, metadata: Value, number: float
) -> None:
    saved = await scores.save_score(
        score(namespace, number, input=input, output=output, metadata=metadata)
    )
    assert await scores.get_score_by_id(id=saved.id) == saved


@requirement("store:scores:save:refusals")
async def test_a_score_that_cannot_be_stored_is_refused(scores: ScoreStore, namespace: str) -> None:
    for member in ("input", "output", "scorer", "metadata", "analyze_step_result"):
        for key in ("$schema", "ключ"):
            refused: dict[str, Any] = {member: {"deep": [{key: 1}]}}
            with pytest.raises(InvalidArgument, match=member):
                await scores.save_score(score(namespace, **refused))
    deep: Any = 1
    for _ in range(20):
        deep = [deep]
    with pytest.raises(LimitExceeded, match="request_context"):
        await scores.save_score(score(namespace, request_context=deep))
    with pytest.raises(InvalidArgument):
        await scores.save_score(score(namespace, float("nan")))
    missing: Any = None
    with pytest.raises(FunctionError):
        await scores.save_score(score(namespace, scorer_id=missing))
    listed = await scores.list_scores_by_run_id(run_id=f"{namespace}-run")
    assert listed.total == 0


@requirement("store:scores:get")
async def test_an_absent_score_is_none(scores: ScoreStore, namespace: str) -> None:
    assert await scores.get_score_by_id(id=f"{namespace}-absent") is None


@requirement("store:scores:read:invalid")
async def test_a_row_that_is_no_score_is_invalid(
    scores: ScoreStore, wire: Wire, namespace: str
) -> None:
    saved = await scores.save_score(score(namespace))
    await wire.send("patch", SCORERS, id=saved.id, record={"createdAt": "yesterday"})
    with pytest.raises(InvalidResponse, match="createdAt"):
        await scores.get_score_by_id(id=saved.id)


# --- Listing


async def saved_each(
    scores: ScoreStore, clock: Clock, namespace: str, *members: dict[str, Any]
) -> None:
    """Save a score for each, a second apart, numbered from 0."""
    for number, each in enumerate(members):
        clock.advance_ms(1000)
        await scores.save_score(score(namespace, number, **each))


def numbers(page: ScorePage) -> list[float]:
    return [each.score for each in page.scores]


@requirement("store:scores:list:order")
async def test_scores_are_listed_newest_first(
    scores: ScoreStore, clock: Clock, namespace: str
) -> None:
    for number in range(3):
        await scores.save_score(score(namespace, number))
    clock.advance_ms(1)
    await scores.save_score(score(namespace, 3))
    clock.advance_ms(-5)
    await scores.save_score(score(namespace, 4))
    listed = await scores.list_scores_by_run_id(run_id=f"{namespace}-run")
    assert numbers(listed) == [3, 0, 1, 2, 4]


@requirement("store:scores:list:scorer")
async def test_scores_of_a_scorer_are_narrowed(
    scores: ScoreStore, clock: Clock, namespace: str
) -> None:
    other = {"scorer_id": f"{namespace}-other"}
    await saved_each(
        scores,
        clock,
        namespace,
        {},
        {"entity_id": f"{namespace}-flow", "entity_type": "WORKFLOW"},
        {"source": "LIVE"},
        {"entity_type": "WORKFLOW"},
        other,
    )
    scorer_id, agent = f"{namespace}-scorer", f"{namespace}-agent"

    async def listed(**options: Any) -> list[float]:
        return numbers(await scores.list_scores_by_scorer_id(scorer_id=scorer_id, **options))

    assert await listed() == [3, 2, 1, 0]
    assert await listed(entity_id=agent) == [3, 2, 0]
    assert await listed(entity_type="WORKFLOW") == [3, 1]
    assert await listed(entity_id=agent, entity_type="AGENT") == [2, 0]
    assert await listed(entity_id=agent, entity_type="AGENT", source="LIVE") == [2]
    assert await listed(source="LIVE") == [2]
    assert await listed(source="NOWHERE") == []
    assert await listed(entity_id="", entity_type="", source="") == [3, 2, 1, 0]


@requirement("store:scores:list:run")
async def test_scores_of_a_run_are_listed(scores: ScoreStore, clock: Clock, namespace: str) -> None:
    await saved_each(scores, clock, namespace, {}, {"run_id": f"{namespace}-other"}, {})
    assert numbers(await scores.list_scores_by_run_id(run_id=f"{namespace}-run")) == [2, 0]
    assert numbers(await scores.list_scores_by_run_id(run_id=f"{namespace}-none")) == []


@requirement("store:scores:list:entity")
async def test_scores_of_an_entity_are_those_of_its_type(
    scores: ScoreStore, clock: Clock, namespace: str
) -> None:
    await saved_each(
        scores,
        clock,
        namespace,
        {},
        {"entity_type": "WORKFLOW"},
        {"entity_id": f"{namespace}-other"},
        {"entity_type": None},
    )
    agent = f"{namespace}-agent"
    for entity_type, expected in (("AGENT", [0]), ("WORKFLOW", [1]), ("", [3, 1, 0])):
        listed = await scores.list_scores_by_entity_id(entity_id=agent, entity_type=entity_type)
        assert numbers(listed) == expected


@requirement("store:scores:list:span")
async def test_scores_of_a_span_are_those_of_its_trace(
    scores: ScoreStore, clock: Clock, namespace: str
) -> None:
    here: dict[str, Any] = {"trace_id": f"{namespace}-t", "span_id": "s"}
    await saved_each(
        scores,
        clock,
        namespace,
        here,
        {"trace_id": f"{namespace}-u", "span_id": "s"},
        {"trace_id": f"{namespace}-t", "span_id": "other"},
        {},
        {**here, "organization_id": "org"},
    )
    assert numbers(await scores.list_scores_by_span(**here)) == [4, 0]
    assert numbers(await scores.list_scores_by_span(**here, page=1, per_page=1)) == [0]
    tenant = ScoreFilter(organization_id="org")
    assert numbers(await scores.list_scores_by_span(**here, filters=tenant)) == [4]


@requirement("store:scores:list:tenant")
async def test_every_list_can_be_cut_to_a_tenant(
    scores: ScoreStore, clock: Clock, namespace: str
) -> None:
    span: dict[str, Any] = {"trace_id": f"{namespace}-t", "span_id": "s"}
    await saved_each(
        scores,
        clock,
        namespace,
        span,
        {**span, "organization_id": "o"},
        {**span, "organization_id": "o", "project_id": "p"},
        {**span, "organization_id": "x", "project_id": "p"},
        {**span, "organization_id": ""},
    )
    agent = f"{namespace}-agent"
    for filters, expected in (
        (None, [4, 3, 2, 1, 0]),
        (ScoreFilter(), [4, 3, 2, 1, 0]),
        (ScoreFilter(organization_id="o"), [2, 1]),
        (ScoreFilter(project_id="p"), [3, 2]),
        (ScoreFilter(organization_id="o", project_id="p"), [2]),
        (ScoreFilter(organization_id=""), [4]),
        (ScoreFilter(organization_id="nobody"), []),
    ):
        for page in (
            await scores.list_scores_by_scorer_id(scorer_id=f"{namespace}-scorer", filters=filters),
            await scores.list_scores_by_run_id(run_id=f"{namespace}-run", filters=filters),
            await scores.list_scores_by_entity_id(
                entity_id=agent, entity_type="AGENT", filters=filters
            ),
            await scores.list_scores_by_span(**span, filters=filters),
        ):
            assert (numbers(page), page.total) == (expected, len(expected))


@requirement("store:scores:list:any")
async def test_an_empty_name_asks_for_any(scores: ScoreStore, clock: Clock, namespace: str) -> None:
    tenant = ScoreFilter(organization_id=namespace)
    mine = {"organization_id": namespace}
    await saved_each(scores, clock, namespace, mine, {**mine, "scorer_id": "s", "run_id": "r"})
    for page in (
        await scores.list_scores_by_scorer_id(scorer_id="", filters=tenant),
        await scores.list_scores_by_run_id(run_id="", filters=tenant),
        await scores.list_scores_by_entity_id(entity_id="", entity_type=None, filters=tenant),
    ):
        assert numbers(page) == [1, 0]


@requirement("store:scores:list:pages")
async def test_pages_tell_what_follows(scores: ScoreStore, clock: Clock, namespace: str) -> None:
    await saved_each(scores, clock, namespace, *[{}] * 5)

    async def listed(**paging: Any) -> tuple[list[float], int, int, Any, bool]:
        page = await scores.list_scores_by_run_id(run_id=f"{namespace}-run", **paging)
        return numbers(page), page.total, page.page, page.per_page, page.has_more

    everything = [4.0, 3, 2, 1, 0]
    assert await listed() == (everything, 5, 0, 100, False)
    assert await listed(page=0, per_page=2) == ([4, 3], 5, 0, 2, True)
    assert await listed(page=1, per_page=2) == ([2, 1], 5, 1, 2, True)
    assert await listed(page=2, per_page=2) == ([0], 5, 2, 2, False)
    assert await listed(page=3, per_page=2) == ([], 5, 3, 2, False)
    assert await listed(page=0, per_page=5) == (everything, 5, 0, 5, False)
    assert await listed(page=0, per_page=0) == ([], 5, 0, 0, True)
    assert await listed(page=0, per_page=False) == (everything, 5, 0, False, False)
    assert await listed(page=3, per_page=False) == (everything, 5, 3, False, False)


@requirement("store:scores:list:refusals")
async def test_a_page_that_cannot_be_is_refused(scores: ScoreStore) -> None:
    wrong: Any
    for wrong, sentence in (
        ({"page": -1}, "page must be >= 0"),
        ({"page": 0.5}, "page must be >= 0"),
        ({"per_page": -1}, "per_page must be >= 0"),
        ({"per_page": True}, "per_page must be False or a safe integer"),
        ({"per_page": "2"}, "per_page must be False or a safe integer"),
        ({"page": 2**52, "per_page": 4}, "page value too large"),
    ):
        for work in (
            scores.list_scores_by_run_id(run_id="r", **wrong),
            scores.list_scores_by_scorer_id(scorer_id="s", **wrong),
            scores.list_scores_by_entity_id(entity_id="e", entity_type="AGENT", **wrong),
            scores.list_scores_by_span(trace_id="t", span_id="s", **wrong),
        ):
            with pytest.raises(InvalidArgument, match=sentence) as refused:
                await work
            assert refused.value.id == "MASTRA_STORAGE_CONVEX_LIST_SCORES_INVALID_PAGINATION"


class OverheardDeployment(StockDeployment):
    """Keeps the requests it passes on."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__(deployment)
        self.requests: list[Mapping[str, Value]] = []

    async def call(self, kind: Kind, path: str, args: Mapping[str, Value], **options: Any) -> Value:
        self.requests.append(args)
        return await super().call(kind, path, args, **options)


@requirement("store:scores:list:index")
async def test_a_list_reads_the_rows_of_its_index(deployment: Deployment) -> None:
    overheard = OverheardDeployment(deployment)
    scores = ConvexStore(overheard).scores
    await scores.list_scores_by_scorer_id(scorer_id="s", source="LIVE")
    await scores.list_scores_by_run_id(run_id="r", filters=ScoreFilter(project_id="p"))
    await scores.list_scores_by_entity_id(entity_id="e", entity_type="AGENT")
    await scores.list_scores_by_span(trace_id="t", span_id="s")
    asked: list[Any] = [request["filters"] for request in overheard.requests]
    assert [{each["field"]: each["value"] for each in filters} for filters in asked] == [
        {"scorerId": "s", "source": "LIVE"},
        {"runId": "r", "projectId": "p"},
        {"entityId": "e", "entityType": "AGENT"},
        {"traceId": "t", "spanId": "s"},
    ]


@requirement("store:scores:clear-all")
async def test_clearing_deletes_every_score(scores: ScoreStore, namespace: str) -> None:
    for number in range(30):
        await scores.save_score(score(namespace, number))
    await scores.dangerously_clear_all()
    assert (await scores.list_scores_by_scorer_id(scorer_id="")).total == 0
