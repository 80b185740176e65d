"""The tables of the wire protocol, written down a second time: what tests hold ours against.

This is the protocol's text (npm `@mastra/convex` 1.5), not a copy of `embedded/tables.py`: fields
are grouped by type as they are there, and the order in which `queryTable` prefers indexes is a
list of its own. Nothing here imports the library.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class DeclaredField:
    """One field: its type, whether it may be absent, whether it may be null."""

    name: str
    kind: str
    optional: bool
    nullable: bool


@dataclass(frozen=True)
class DeclaredTable:
    """One table.

    Attributes:
        name: The physical table.
        logical: What a request calls it.
        fields: Its fields by name.
        indexes: Its indexes by name.
        preferred: The indexes `queryTable` chooses from, the preferred one first.
        choices: Field → the only texts it may hold.
    """

    name: str
    logical: str
    fields: Mapping[str, DeclaredField]
    indexes: Mapping[str, tuple[str, ...]]
    preferred: tuple[str, ...]
    choices: Mapping[str, tuple[str, ...]]


def _table(
    name: str,
    fields: Mapping[str, str],
    indexes: str,
    preferred: str = "",
    *,
    logical: str | None = None,
    choices: Mapping[str, str] | None = None,
) -> DeclaredTable:
    """Read `fields` (type, `?` optional, `|null` nullable → names) and `name[field,…]` indexes."""
    declared = {}
    for written, names in fields.items():
        kind, _, null = written.partition("|")
        for each in names.split():
            declared[each] = DeclaredField(each, kind.rstrip("?"), "?" in kind, null == "null")
    by_name = {}
    for word in indexes.split():
        index, _, keys = word.rstrip("]").partition("[")
        by_name[index] = tuple(keys.split(","))
    texts = {field: tuple(words.split()) for field, words in (choices or {}).items()}
    return DeclaredTable(name, logical or name, declared, by_name, tuple(preferred.split()), texts)


_ALL: Final = (
    _table(
        "mastra_threads",
        {"string": "id resourceId title createdAt updatedAt", "any?": "metadata"},
        "by_record_id[id] by_resource[resourceId] by_created[createdAt] by_updated[updatedAt]",
        "by_resource by_created by_updated by_record_id",
    ),
    _table(
        "mastra_messages",
        {"string": "id thread_id content role type createdAt", "string?": "resourceId"},
        "by_record_id[id] by_thread[thread_id] by_thread_created[thread_id,createdAt] "
        "by_resource[resourceId]",
        "by_thread_created by_thread by_resource by_record_id",
    ),
    _table(
        "mastra_resources",
        {"string": "id createdAt updatedAt", "string?": "workingMemory", "any?": "metadata"},
        "by_record_id[id] by_updated[updatedAt]",
        "by_updated by_record_id",
    ),
    _table(
        "mastra_workflow_snapshots",
        {
            "string?": "id resourceId",
            "string": "workflow_name run_id createdAt updatedAt",
            "any": "snapshot",
        },
        "by_record_id[id] by_workflow_run[workflow_name,run_id] by_workflow[workflow_name] "
        "by_resource[resourceId] by_created[createdAt]",
        "by_workflow_run by_workflow by_resource by_created by_record_id",
        logical="mastra_workflow_snapshot",
    ),
    _table(
        "mastra_scorers",
        {
            "string": "id scorerId runId source createdAt updatedAt",
            "number": "score",
            "any": "scorer input output",
            "string?": "traceId spanId reason preprocessPrompt extractPrompt generateScorePrompt "
            "generateReasonPrompt analyzePrompt reasonPrompt entityType entityId resourceId "
            "threadId organizationId projectId batchId datasetId datasetItemId",
            "any?": "preprocessStepResult extractStepResult analyzeStepResult metadata "
            "additionalContext requestContext entity",
        },
        "by_record_id[id] by_scorer[scorerId] by_entity[entityId,entityType] by_run[runId] "
        "by_created[createdAt]",
        "by_entity by_scorer by_run by_created by_record_id",
    ),
    _table(
        "mastra_schedules",
        {
            "string": "id target cron status",
            "string?|null": "timezone last_run_id metadata owner_type owner_id workflow_id",
            "number": "next_fire_at created_at updated_at",
            "number?|null": "last_fire_at",
        },
        "by_record_id[id] by_status_next_fire_at[status,next_fire_at] "
        "by_workflow_status[workflow_id,status] by_workflow_id[workflow_id] "
        "by_owner[owner_type,owner_id] by_owner_id[owner_id] by_created[created_at]",
        "by_workflow_status by_workflow_id by_owner by_owner_id by_status_next_fire_at by_created "
        "by_record_id",
    ),
    _table(
        "mastra_schedule_triggers",
        {
            "string": "id schedule_id outcome trigger_kind",
            "string?|null": "run_id error parent_trigger_id metadata",
            "number": "scheduled_fire_at actual_fire_at",
        },
        "by_record_id[id] by_schedule_actual[schedule_id,actual_fire_at] "
        "by_parent_trigger[parent_trigger_id]",
        "by_schedule_actual by_parent_trigger by_record_id",
    ),
    _table(
        "mastra_channel_installations",
        {
            "string": "id platform agentId status data createdAt updatedAt",
            "string?|null": "webhookId configHash error",
        },
        "by_record_id[id] by_webhook[webhookId] by_platform_agent[platform,agentId] "
        "by_platform[platform]",
        "by_platform_agent by_webhook by_platform by_record_id",
    ),
    _table(
        "mastra_channel_config",
        {"string": "id platform data updatedAt"},
        "by_record_id[id] by_platform[platform]",
        "by_platform by_record_id",
    ),
    _table(
        "mastra_background_tasks",
        {
            "string": "id tool_call_id tool_name agent_id run_id args createdAt status",
            "string|null": "thread_id resource_id result error suspend_payload startedAt "
            "suspendedAt completedAt",
            "number": "retry_count max_retries timeout_ms",
        },
        "by_record_id[id] by_status_created[status,createdAt] by_agent_status[agent_id,status] "
        "by_run[run_id] by_tool_call[tool_call_id] by_thread[thread_id] by_resource[resource_id] "
        "by_tool[tool_name] by_created[createdAt]",
        "by_agent_status by_status_created by_run by_tool_call by_thread by_resource by_tool "
        "by_created by_record_id",
        choices={"status": "pending running suspended completed failed cancelled timed_out"},
    ),
    _table(
        "mastra_observational_memory",
        {
            "string": "id lookupKey scope activeObservations originType config createdAt updatedAt",
            "number": "generationCount pendingMessageTokens totalTokensObserved "
            "observationTokenCount lastBufferedAtTokens",
            "boolean": "isObserving isReflecting isBufferingObservation isBufferingReflection",
            "string?|null": "resourceId threadId activeObservationsPendingUpdate lastObservedAt "
            "lastReflectionAt observedTimezone bufferedObservations bufferedReflection "
            "bufferedObservationChunks lastBufferedAtTime metadata",
            "number?|null": "bufferedObservationTokens bufferedReflectionTokens "
            "bufferedReflectionInputTokens reflectedObservationLineCount",
            "strings?|null": "observedMessageIds bufferedMessageIds",
        },
        "by_record_id[id] by_lookup_key[lookupKey,generationCount]",
        "by_lookup_key by_record_id",
    ),
    _table(
        "mastra_vector_indexes",
        {"string": "id indexName metric createdAt", "number": "dimension"},
        "by_record_id[id] by_name[indexName]",
        "by_name by_record_id",
    ),
    _table(
        "mastra_vectors",
        {"string": "id indexName", "vector": "embedding", "any?": "metadata"},
        "by_index_id[indexName,id] by_index[indexName]",
    ),
    _table(
        "mastra_documents",
        {"string": "table primaryKey", "any": "record"},
        "by_table[table] by_table_primary[table,primaryKey]",
    ),
    _table(
        "mastra_cache",
        {
            "string": "key keyPrefix kind",
            "string?": "value",
            "number?": "counter",
            "number|null": "expiresAt",
        },
        "by_key[key] by_key_prefix[keyPrefix]",
        choices={"kind": "value list counter deleted"},
    ),
    _table(
        "mastra_cache_list_items",
        {"string": "key keyPrefix value", "number": "index"},
        "by_key_prefix[keyPrefix] by_key_index[key,index]",
    ),
)

DECLARED: Final[Mapping[str, DeclaredTable]] = {table.name: table for table in _ALL}
"""Every table of the protocol, by its physical name."""

TYPED: Final[tuple[DeclaredTable, ...]] = tuple(table for table in _ALL if table.preferred)
"""The tables that a request of the storage function names directly."""

_SAMPLES: Final[Mapping[str, Any]] = {
    "string": "text",
    "number": 1.5,
    "boolean": True,
    "any": {"list": [1, None, "two"], "flag": False},
    "strings": ["a", "b"],
    "vector": [0.5, -1.0],
}


def sample(table: DeclaredTable, name: str) -> Any:
    """A value that a field may hold."""
    if name in table.choices:
        return table.choices[name][0]
    return _SAMPLES[table.fields[name].kind]


def least_record(table: DeclaredTable, record_id: str, **fields: Any) -> dict[str, Any]:
    """A record with an id and no more than what is required, besides the fields given."""
    required = {
        name: sample(table, name) for name, field in table.fields.items() if not field.optional
    }
    return {**required, "id": record_id, **fields}


def whole_record(table: DeclaredTable, record_id: str) -> dict[str, Any]:
    """A record with every field the table has."""
    return {**{name: sample(table, name) for name in table.fields}, "id": record_id}


def chosen_index(table: DeclaredTable, filtered: Collection[str]) -> tuple[tuple[str, ...], int]:
    """Choose an index as `queryTable` must.

    Args:
        table: A typed table.
        filtered: The fields that are filtered by.

    Returns:
        The index's fields, and how many of them, from the first on, are filtered: the longest
        such run of any index, the preferred index on a tie. No fields for a full scan.
    """
    best: tuple[str, ...] = ()
    covered = 0
    for index in table.preferred:
        fields = table.indexes[index]
        run = next((at for at, name in enumerate(fields) if name not in filtered), len(fields))
        if run > covered:
            best, covered = fields, run
    return best, covered
