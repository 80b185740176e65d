"""Mastra's functions meet whatever JSON a caller may send."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convex_memory.deployment import (
    CACHE_FUNCTION,
    NATIVE_VECTOR_ACTION,
    NATIVE_VECTOR_MUTATION,
    NATIVE_VECTOR_QUERY,
    STORAGE_FUNCTION,
    Deployment,
    Kind,
)
from convex_memory.errors import FunctionError
from tests.contract.requirements import requirement
from tests.contract.wire import LOGICAL, Wire, record_of

pytestmark = pytest.mark.anyio

any_arguments = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

FIELD: Final = {"field": "id", "value": "a"}
CONFIG: Final = {"tableName": "any_json", "vectorIndexName": "by_embedding"}
ODD: Final[st.SearchStrategy[Any]] = st.sampled_from(
    [
        None, True, False, 0, 1, -1, 0.5, -0.0, 2**53, 1e300, "", "a", "text", "null", "[1]",
        '{"a":1}', "[[", [], ["a"], ["a", "a"], [1], [None], [[]], [{}], [{"id": "a"}], [FIELD],
        [0.5, 1.0], [[0.5, 1.0]], {}, {"id": "a"}, {"a": [{}]}, FIELD, CONFIG,
        {"index": "by_workflow"}, {**CONFIG, "filterFields": 5}, {**CONFIG, "dimension": "2"},
    ]
)  # fmt: skip
"""Values of every type, among them those that some argument somewhere takes."""

STORAGE_OPERATIONS: Final = (
    "insert batchInsert patch load loadMany queryTable deleteMany clearTable dropTable "
    "updateThread updateResource createSchedule recordScheduleTrigger listDueSchedules "
    "updateScheduleNextFire updateSchedule listScheduleTriggers deleteScheduleTriggers "
    "mergeWorkflowState mergeWorkflowStepResult omGetLatest omGetHistory omUpdateActive "
    "omAppendBufferedChunk omSwapBuffered omUpdateBufferedReflection omSwapBufferedReflection "
    "omUpdateConfig"
).split()
STORAGE_ARGUMENTS: Final = (
    "record records id keys ids filters limit indexHint pageSize cursor title metadata "
    "workingMemory resourceId createdAt updatedAt now patch expectedNextFireAt newNextFireAt "
    "lastFireAt lastRunId scheduleId fromActualFireAt toActualFireAt workflowName runId opts "
    "stepId result requestContext lookupKey from to offset observations tokenCount lastObservedAt "
    "observedMessageIds chunk lastBufferedAtTime activationRatio messageTokensThreshold "
    "currentPendingTokens forceMaxActivation bufferedChunks reflection inputTokenCount "
    "reflectedObservationLineCount currentRecord newId config"
).split()


def arguments(names: list[str], **fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Any of these arguments with any value, beside those that are always there."""
    return st.fixed_dictionaries(fixed, optional=dict.fromkeys(names, ODD))


async def answered(deployment: Deployment, kind: Kind, path: str, args: Any) -> None:
    """Call a function that must answer or refuse; anything else fails the test."""
    with suppress(FunctionError):
        await deployment.call(kind, path, args)


@pytest.fixture
async def filled(deployment: Deployment) -> Deployment:
    """A deployment with a row in every table."""
    for table in LOGICAL:
        await Wire(deployment).insert(table, record_of(table, "a"))
    return deployment


@requirement("wire:any-json")
@any_arguments
@given(
    args=arguments(
        STORAGE_ARGUMENTS,
        op=st.sampled_from(STORAGE_OPERATIONS) | ODD,
        tableName=st.sampled_from(LOGICAL) | ODD,
    )
)
async def test_any_arguments_of_storage_are_answered_or_refused(
    filled: Deployment, args: dict[str, Any]
) -> None:
    await answered(filled, "mutation", STORAGE_FUNCTION, args)


@requirement("wire:any-json")
@any_arguments
@given(
    args=arguments(
        "key keyPrefix value expiresAt from to".split(),
        op=st.sampled_from("get set listLength listPush listFromTo delete clear increment".split())
        | ODD,
    )
)
async def test_any_arguments_of_the_cache_are_answered_or_refused(
    deployment: Deployment, args: dict[str, Any]
) -> None:
    await answered(deployment, "mutation", CACHE_FUNCTION, args)


NATIVE: Final = st.one_of(
    st.tuples(
        st.just("action"),
        st.just(NATIVE_VECTOR_ACTION),
        arguments(["vector", "limit", "filter"], config=st.just(CONFIG) | ODD),
    ),
    st.tuples(
        st.just("query"),
        st.just(NATIVE_VECTOR_QUERY),
        arguments(
            ["ids", "includeVector", "countLimit"],
            config=st.just(CONFIG) | ODD,
            op=st.sampled_from(["getByConvexIds", "listByIds", "describe"]) | ODD,
        ),
    ),
    st.tuples(
        st.just("mutation"),
        st.just(NATIVE_VECTOR_MUTATION),
        arguments(
            ["ids", "vectors", "metadata", "id", "vector"],
            config=st.just(CONFIG) | ODD,
            op=st.sampled_from(["upsert", "updateById", "deleteByIds"]) | ODD,
        ),
    ),
)


@requirement("wire:any-json")
@any_arguments
@given(call=NATIVE)
async def test_any_arguments_of_native_vectors_are_answered_or_refused(
    deployment: Deployment, call: tuple[Kind, str, dict[str, Any]]
) -> None:
    kind, path, args = call
    await answered(deployment, kind, path, args)
