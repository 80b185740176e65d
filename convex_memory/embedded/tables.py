"""The tables of a deployment: fields, indexes and the order in which indexes are preferred.

These are the tables of npm `@mastra/convex` 1.5 (see `docs/functions.md`), each a SQL table of
the embedded deployment with one column per declared field. `convex/schema.ts` declares the same.

How a field is held in its column:

| field            | missing | explicit null | value                                    |
|------------------|---------|---------------|------------------------------------------|
| `string`         | NULL    | integer 0     | text                                     |
| `number`         | NULL    | blob x'00'    | integer or real, as it was sent          |
| `boolean`        | NULL    | blob x'00'    | 0 or 1                                   |
| `any`, `strings` | NULL    | text `null`   | JSON text                                |
| `vector`         | NULL    | never         | blob of float32, float64 where it has to |

So columns of strings sort as Convex sorts them (missing, null, text), and a plain SQL index
serves each declared index; ties end in creation order, which is that of the row's sequence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from convex_memory.errors import InvalidArgument
from convex_memory.limits import IDENTIFIER_CHARS_MAX

FieldKind = Literal["string", "number", "boolean", "any", "strings", "vector"]

_SPEC = re.compile(r"(string|number|boolean|any|strings|vector)(\?)?(\|null)?")
_IDENTIFIER = re.compile(rf"[A-Za-z_][A-Za-z0-9_]{{0,{IDENTIFIER_CHARS_MAX - 1}}}")


@dataclass(frozen=True, slots=True)
class Field:
    """One declared field: what it holds, whether it may be absent, whether it may be null."""

    name: str
    kind: FieldKind
    optional: bool
    nullable: bool
    choices: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """One declared table.

    Attributes:
        name: Its name in Convex and in SQLite.
        number: Part of every row's `_id`; never reused for another table.
        fields: Declared fields by name; documents hold no others.
        indexes: Index name → fields, in the order in which `queryTable` prefers them.
        own_indexes: Further indexes that only `memory/*` functions use.
        followed: Whether writes are written to the change log.
        thread_field: The field that holds the thread a row belongs to.
        resource_field: The field that holds the resource a row belongs to.
    """

    name: str
    number: int
    fields: Mapping[str, Field]
    indexes: Mapping[str, tuple[str, ...]]
    own_indexes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    followed: bool = False
    thread_field: str | None = None
    resource_field: str | None = None


def check_identifier(name: str, what: str) -> str:
    """Return `name` if it can name a table, an index or a declared field; refuse it otherwise."""
    if not isinstance(name, str) or not _IDENTIFIER.fullmatch(name):
        raise InvalidArgument(
            f"{what} {name!a} is not a valid name: use letters, digits and underscores, not "
            f"starting with a digit, at most {IDENTIFIER_CHARS_MAX} characters."
        )
    return name


def _fields(spec: str) -> dict[str, Field]:
    """Parse `name:kind` words; `?` marks an optional field and `|null` a nullable one."""
    fields: dict[str, Field] = {}
    for word in spec.split():
        name, _, kind = word.partition(":")
        match = _SPEC.fullmatch(kind)
        assert match is not None, word
        fields[name] = Field(name, match[1], bool(match[2]), bool(match[3]))  # type: ignore[arg-type]
    return fields


def _indexes(spec: str) -> dict[str, tuple[str, ...]]:
    """Parse `index[field,field]` words."""
    indexes: dict[str, tuple[str, ...]] = {}
    for word in spec.split():
        name, _, rest = word.partition("[")
        indexes[name] = tuple(rest.rstrip("]").split(","))
    return indexes


_OPTIONAL_SCORE_TEXTS = " ".join(
    f"{name}:string?"
    for name in (
        "traceId spanId reason preprocessPrompt extractPrompt generateScorePrompt "
        "generateReasonPrompt analyzePrompt reasonPrompt entityType entityId resourceId threadId "
        "organizationId projectId batchId datasetId datasetItemId"
    ).split()
)
_OPTIONAL_SCORE_VALUES = " ".join(
    f"{name}:any?"
    for name in (
        "preprocessStepResult extractStepResult analyzeStepResult metadata additionalContext "
        "requestContext entity"
    ).split()
)

THREADS: Final = Table(
    "mastra_threads",
    1,
    _fields(
        "id:string resourceId:string title:string metadata:any? createdAt:string updatedAt:string"
    ),
    _indexes(
        "by_resource[resourceId] by_created[createdAt] by_updated[updatedAt] by_record_id[id]"
    ),
    own_indexes=_indexes(
        "by_resource_updated[resourceId,updatedAt] by_resource_created[resourceId,createdAt]"
    ),
    followed=True,
    thread_field="id",
    resource_field="resourceId",
)
MESSAGES: Final = Table(
    "mastra_messages",
    2,
    _fields(
        "id:string thread_id:string content:string role:string type:string createdAt:string "
        "resourceId:string?"
    ),
    _indexes(
        "by_thread_created[thread_id,createdAt] by_thread[thread_id] by_resource[resourceId] "
        "by_record_id[id]"
    ),
    followed=True,
    thread_field="thread_id",
    resource_field="resourceId",
)
RESOURCES: Final = Table(
    "mastra_resources",
    3,
    _fields("id:string workingMemory:string? metadata:any? createdAt:string updatedAt:string"),
    _indexes("by_updated[updatedAt] by_record_id[id]"),
    followed=True,
    resource_field="id",
)
WORKFLOW_SNAPSHOTS: Final = Table(
    "mastra_workflow_snapshots",
    4,
    _fields(
        "id:string? workflow_name:string run_id:string resourceId:string? snapshot:any "
        "createdAt:string updatedAt:string"
    ),
    _indexes(
        "by_workflow_run[workflow_name,run_id] by_workflow[workflow_name] by_resource[resourceId] "
        "by_created[createdAt] by_record_id[id]"
    ),
    resource_field="resourceId",
)
SCORERS: Final = Table(
    "mastra_scorers",
    5,
    _fields(
        "id:string scorerId:string runId:string source:string createdAt:string updatedAt:string "
        f"score:number scorer:any input:any output:any {_OPTIONAL_SCORE_TEXTS} "
        f"{_OPTIONAL_SCORE_VALUES}"
    ),
    _indexes(
        "by_entity[entityId,entityType] by_scorer[scorerId] by_run[runId] by_created[createdAt] "
        "by_record_id[id]"
    ),
    thread_field="threadId",
    resource_field="resourceId",
)
SCHEDULES: Final = Table(
    "mastra_schedules",
    6,
    _fields(
        "id:string target:string cron:string status:string timezone:string?|null "
        "next_fire_at:number last_fire_at:number?|null last_run_id:string?|null "
        "created_at:number updated_at:number metadata:string?|null owner_type:string?|null "
        "owner_id:string?|null workflow_id:string?|null"
    ),
    _indexes(
        "by_workflow_status[workflow_id,status] by_workflow_id[workflow_id] "
        "by_owner[owner_type,owner_id] by_owner_id[owner_id] "
        "by_status_next_fire_at[status,next_fire_at] by_created[created_at] by_record_id[id]"
    ),
    followed=True,
)
SCHEDULE_TRIGGERS: Final = Table(
    "mastra_schedule_triggers",
    7,
    _fields(
        "id:string schedule_id:string outcome:string trigger_kind:string run_id:string?|null "
        "scheduled_fire_at:number actual_fire_at:number error:string?|null "
        "parent_trigger_id:string?|null metadata:string?|null"
    ),
    _indexes(
        "by_schedule_actual[schedule_id,actual_fire_at] by_parent_trigger[parent_trigger_id] "
        "by_record_id[id]"
    ),
)
CHANNEL_INSTALLATIONS: Final = Table(
    "mastra_channel_installations",
    8,
    _fields(
        "id:string platform:string agentId:string status:string data:string createdAt:string "
        "updatedAt:string webhookId:string?|null configHash:string?|null error:string?|null"
    ),
    _indexes(
        "by_platform_agent[platform,agentId] by_webhook[webhookId] by_platform[platform] "
        "by_record_id[id]"
    ),
)
CHANNEL_CONFIG: Final = Table(
    "mastra_channel_config",
    9,
    _fields("id:string platform:string data:string updatedAt:string"),
    _indexes("by_platform[platform] by_record_id[id]"),
)
_TASK_STATUSES = frozenset(
    {"pending", "running", "suspended", "completed", "failed", "cancelled", "timed_out"}
)
BACKGROUND_TASKS: Final = Table(
    "mastra_background_tasks",
    10,
    _fields(
        "id:string tool_call_id:string tool_name:string agent_id:string run_id:string args:string "
        "createdAt:string thread_id:string|null resource_id:string|null result:string|null "
        "error:string|null suspend_payload:string|null startedAt:string|null "
        "suspendedAt:string|null completedAt:string|null retry_count:number max_retries:number "
        "timeout_ms:number"
    )
    | {"status": Field("status", "string", optional=False, nullable=False, choices=_TASK_STATUSES)},
    _indexes(
        "by_agent_status[agent_id,status] by_status_created[status,createdAt] by_run[run_id] "
        "by_tool_call[tool_call_id] by_thread[thread_id] by_resource[resource_id] "
        "by_tool[tool_name] by_created[createdAt] by_record_id[id]"
    ),
    thread_field="thread_id",
    resource_field="resource_id",
)
OBSERVATIONAL_MEMORY: Final = Table(
    "mastra_observational_memory",
    11,
    _fields(
        "id:string lookupKey:string scope:string activeObservations:string originType:string "
        "config:string createdAt:string updatedAt:string generationCount:number "
        "pendingMessageTokens:number totalTokensObserved:number observationTokenCount:number "
        "lastBufferedAtTokens:number isObserving:boolean isReflecting:boolean "
        "isBufferingObservation:boolean isBufferingReflection:boolean resourceId:string?|null "
        "threadId:string?|null activeObservationsPendingUpdate:string?|null "
        "lastObservedAt:string?|null lastReflectionAt:string?|null observedTimezone:string?|null "
        "bufferedObservations:string?|null bufferedReflection:string?|null "
        "bufferedObservationChunks:string?|null lastBufferedAtTime:string?|null "
        "metadata:string?|null bufferedObservationTokens:number?|null "
        "bufferedReflectionTokens:number?|null bufferedReflectionInputTokens:number?|null "
        "reflectedObservationLineCount:number?|null observedMessageIds:strings?|null "
        "bufferedMessageIds:strings?|null"
    ),
    _indexes("by_lookup_key[lookupKey,generationCount] by_record_id[id]"),
    thread_field="threadId",
    resource_field="resourceId",
)
VECTOR_INDEXES: Final = Table(
    "mastra_vector_indexes",
    12,
    _fields("id:string indexName:string metric:string createdAt:string dimension:number"),
    _indexes("by_name[indexName] by_record_id[id]"),
    followed=True,
)
VECTORS: Final = Table(
    "mastra_vectors",
    13,
    _fields("id:string indexName:string embedding:vector metadata:any?"),
    _indexes("by_index_id[indexName,id] by_index[indexName]"),
)
DOCUMENTS: Final = Table(
    "mastra_documents",
    14,
    _fields("table:string primaryKey:string record:any"),
    _indexes("by_table_primary[table,primaryKey] by_table[table]"),
)
CACHE: Final = Table(
    "mastra_cache",
    15,
    _fields("key:string keyPrefix:string value:string? counter:number? expiresAt:number|null")
    | {
        "kind": Field(
            "kind",
            "string",
            optional=False,
            nullable=False,
            choices=frozenset({"value", "list", "counter", "deleted"}),
        )
    },
    _indexes("by_key[key] by_key_prefix[keyPrefix]"),
)
CACHE_LIST_ITEMS: Final = Table(
    "mastra_cache_list_items",
    16,
    _fields("key:string keyPrefix:string index:number value:string"),
    _indexes("by_key_index[key,index] by_key_prefix[keyPrefix]"),
)
NATIVE_VECTORS: Final = Table(
    "native_vectors",
    17,
    _fields("table:string recordId:string record:any embedding:vector"),
    _indexes("by_table_record[table,recordId]"),
    own_indexes=_indexes("by_table[table]"),
)
"""Rows of every table that a native-vector config names: those tables come into being on their
first write, so they share one SQL table; `record` is the row without its vector."""

TABLES: Final[Mapping[str, Table]] = {
    table.name: table
    for table in (
        THREADS,
        MESSAGES,
        RESOURCES,
        WORKFLOW_SNAPSHOTS,
        SCORERS,
        SCHEDULES,
        SCHEDULE_TRIGGERS,
        CHANNEL_INSTALLATIONS,
        CHANNEL_CONFIG,
        BACKGROUND_TASKS,
        OBSERVATIONAL_MEMORY,
        VECTOR_INDEXES,
        VECTORS,
        DOCUMENTS,
        CACHE,
        CACHE_LIST_ITEMS,
        NATIVE_VECTORS,
    )
}

TYPED_TABLES: Final[Mapping[str, Table]] = {
    table.name: table
    for table in TABLES.values()
    if table
    not in (WORKFLOW_SNAPSHOTS, VECTORS, DOCUMENTS, CACHE, CACHE_LIST_ITEMS, NATIVE_VECTORS)
} | {"mastra_workflow_snapshot": WORKFLOW_SNAPSHOTS}
"""Logical `tableName` of the storage function → the table that holds its rows."""
