/**
 * The tables of npm `@mastra/convex` 1.5, so that a Mastra app and Convex Memory share their rows.
 *
 * Names of tables, fields and indexes are part of the wire protocol and of stored data: they never
 * change. `convex_memory/embedded/tables.py` declares the same.
 *
 * A table's indexes stand in the order in which `queryTable` prefers them when its filters cover
 * several equally well. Those after the blank line are ours: only `memory/*` functions need them.
 */
import { defineTable } from "convex/server";
import { v } from "convex/values";

const optionalText = v.optional(v.string());
const nullableText = v.union(v.string(), v.null());
const optionalNullableText = v.optional(v.union(v.string(), v.null()));
const optionalNullableNumber = v.optional(v.union(v.number(), v.null()));
const optionalNullableTexts = v.optional(v.union(v.array(v.string()), v.null()));

/** `mastra_threads`: one row for each conversation. */
export const threads = defineTable({
  id: v.string(),
  resourceId: v.string(),
  title: v.string(),
  metadata: v.optional(v.any()),
  createdAt: v.string(),
  updatedAt: v.string(),
})
  // Part of the protocol, although by_resource_updated begins the same.
  // eslint-disable-next-line @convex-dev/no-duplicate-indexes
  .index("by_resource", ["resourceId"])
  .index("by_created", ["createdAt"])
  .index("by_updated", ["updatedAt"])
  .index("by_record_id", ["id"])

  .index("by_resource_updated", ["resourceId", "updatedAt"])
  .index("by_resource_created", ["resourceId", "createdAt"]);

/** `mastra_messages`: `content` is the JSON text of a format-2 message. */
export const messages = defineTable({
  id: v.string(),
  thread_id: v.string(),
  content: v.string(),
  role: v.string(),
  type: v.string(),
  createdAt: v.string(),
  resourceId: optionalText,
})
  .index("by_thread_created", ["thread_id", "createdAt"])
  // Part of the protocol, although by_thread_created begins the same.
  // eslint-disable-next-line @convex-dev/no-duplicate-indexes
  .index("by_thread", ["thread_id"])
  .index("by_resource", ["resourceId"])
  .index("by_record_id", ["id"]);

/** `mastra_resources`: a user's working memory. */
export const resources = defineTable({
  id: v.string(),
  workingMemory: optionalText,
  metadata: v.optional(v.any()),
  createdAt: v.string(),
  updatedAt: v.string(),
})
  .index("by_updated", ["updatedAt"])
  .index("by_record_id", ["id"]);

/** `mastra_workflow_snapshots`: `snapshot` is JSON text, in old rows an object. */
export const workflowSnapshots = defineTable({
  id: optionalText,
  workflow_name: v.string(),
  run_id: v.string(),
  resourceId: optionalText,
  snapshot: v.any(),
  createdAt: v.string(),
  updatedAt: v.string(),
})
  .index("by_workflow_run", ["workflow_name", "run_id"])
  // Part of the protocol, although by_workflow_run begins the same.
  // eslint-disable-next-line @convex-dev/no-duplicate-indexes
  .index("by_workflow", ["workflow_name"])
  .index("by_resource", ["resourceId"])
  .index("by_created", ["createdAt"])
  .index("by_record_id", ["id"]);

/** `mastra_scorers`: results of evaluations. */
export const scorers = defineTable({
  id: v.string(),
  scorerId: v.string(),
  runId: v.string(),
  source: v.string(),
  createdAt: v.string(),
  updatedAt: v.string(),
  score: v.number(),
  scorer: v.any(),
  input: v.any(),
  output: v.any(),
  traceId: optionalText,
  spanId: optionalText,
  reason: optionalText,
  preprocessPrompt: optionalText,
  extractPrompt: optionalText,
  generateScorePrompt: optionalText,
  generateReasonPrompt: optionalText,
  analyzePrompt: optionalText,
  reasonPrompt: optionalText,
  entityType: optionalText,
  entityId: optionalText,
  resourceId: optionalText,
  threadId: optionalText,
  organizationId: optionalText,
  projectId: optionalText,
  batchId: optionalText,
  datasetId: optionalText,
  datasetItemId: optionalText,
  preprocessStepResult: v.optional(v.any()),
  extractStepResult: v.optional(v.any()),
  analyzeStepResult: v.optional(v.any()),
  metadata: v.optional(v.any()),
  additionalContext: v.optional(v.any()),
  requestContext: v.optional(v.any()),
  entity: v.optional(v.any()),
})
  .index("by_entity", ["entityId", "entityType"])
  .index("by_scorer", ["scorerId"])
  .index("by_run", ["runId"])
  .index("by_created", ["createdAt"])
  .index("by_record_id", ["id"]);

/** `mastra_schedules`: times are milliseconds since the epoch. */
export const schedules = defineTable({
  id: v.string(),
  target: v.string(),
  cron: v.string(),
  status: v.string(),
  timezone: optionalNullableText,
  next_fire_at: v.number(),
  last_fire_at: optionalNullableNumber,
  last_run_id: optionalNullableText,
  created_at: v.number(),
  updated_at: v.number(),
  metadata: optionalNullableText,
  owner_type: optionalNullableText,
  owner_id: optionalNullableText,
  workflow_id: optionalNullableText,
})
  .index("by_workflow_status", ["workflow_id", "status"])
  // Part of the protocol, although by_workflow_status begins the same.
  // eslint-disable-next-line @convex-dev/no-duplicate-indexes
  .index("by_workflow_id", ["workflow_id"])
  .index("by_owner", ["owner_type", "owner_id"])
  .index("by_owner_id", ["owner_id"])
  .index("by_status_next_fire_at", ["status", "next_fire_at"])
  .index("by_created", ["created_at"])
  .index("by_record_id", ["id"]);

/** `mastra_schedule_triggers`: one row for each time a schedule fired. */
export const scheduleTriggers = defineTable({
  id: v.string(),
  schedule_id: v.string(),
  outcome: v.string(),
  trigger_kind: v.string(),
  run_id: optionalNullableText,
  scheduled_fire_at: v.number(),
  actual_fire_at: v.number(),
  error: optionalNullableText,
  parent_trigger_id: optionalNullableText,
  metadata: optionalNullableText,
})
  .index("by_schedule_actual", ["schedule_id", "actual_fire_at"])
  .index("by_parent_trigger", ["parent_trigger_id"])
  .index("by_record_id", ["id"]);

/** `mastra_channel_installations`: `data` is JSON text. */
export const channelInstallations = defineTable({
  id: v.string(),
  platform: v.string(),
  agentId: v.string(),
  status: v.string(),
  data: v.string(),
  createdAt: v.string(),
  updatedAt: v.string(),
  webhookId: optionalNullableText,
  configHash: optionalNullableText,
  error: optionalNullableText,
})
  .index("by_platform_agent", ["platform", "agentId"])
  .index("by_webhook", ["webhookId"])
  // Part of the protocol, although by_platform_agent begins the same.
  // eslint-disable-next-line @convex-dev/no-duplicate-indexes
  .index("by_platform", ["platform"])
  .index("by_record_id", ["id"]);

/** `mastra_channel_config`: `id` equals `platform`, `data` is JSON text. */
export const channelConfig = defineTable({
  id: v.string(),
  platform: v.string(),
  data: v.string(),
  updatedAt: v.string(),
})
  .index("by_platform", ["platform"])
  .index("by_record_id", ["id"]);

/** `mastra_background_tasks`: `args`, `result`, `error` and `suspend_payload` are JSON text. */
export const backgroundTasks = defineTable({
  id: v.string(),
  tool_call_id: v.string(),
  tool_name: v.string(),
  agent_id: v.string(),
  run_id: v.string(),
  args: v.string(),
  createdAt: v.string(),
  thread_id: nullableText,
  resource_id: nullableText,
  result: nullableText,
  error: nullableText,
  suspend_payload: nullableText,
  startedAt: nullableText,
  suspendedAt: nullableText,
  completedAt: nullableText,
  retry_count: v.number(),
  max_retries: v.number(),
  timeout_ms: v.number(),
  status: v.union(
    v.literal("pending"),
    v.literal("running"),
    v.literal("suspended"),
    v.literal("completed"),
    v.literal("failed"),
    v.literal("cancelled"),
    v.literal("timed_out"),
  ),
})
  .index("by_agent_status", ["agent_id", "status"])
  .index("by_status_created", ["status", "createdAt"])
  .index("by_run", ["run_id"])
  .index("by_tool_call", ["tool_call_id"])
  .index("by_thread", ["thread_id"])
  .index("by_resource", ["resource_id"])
  .index("by_tool", ["tool_name"])
  .index("by_created", ["createdAt"])
  .index("by_record_id", ["id"]);

/** `mastra_observational_memory`: `bufferedObservationChunks` is the JSON text of an array. */
export const observationalMemory = defineTable({
  id: v.string(),
  lookupKey: v.string(),
  scope: v.string(),
  activeObservations: v.string(),
  originType: v.string(),
  config: v.string(),
  createdAt: v.string(),
  updatedAt: v.string(),
  generationCount: v.number(),
  pendingMessageTokens: v.number(),
  totalTokensObserved: v.number(),
  observationTokenCount: v.number(),
  lastBufferedAtTokens: v.number(),
  isObserving: v.boolean(),
  isReflecting: v.boolean(),
  isBufferingObservation: v.boolean(),
  isBufferingReflection: v.boolean(),
  resourceId: optionalNullableText,
  threadId: optionalNullableText,
  activeObservationsPendingUpdate: optionalNullableText,
  lastObservedAt: optionalNullableText,
  lastReflectionAt: optionalNullableText,
  observedTimezone: optionalNullableText,
  bufferedObservations: optionalNullableText,
  bufferedReflection: optionalNullableText,
  bufferedObservationChunks: optionalNullableText,
  lastBufferedAtTime: optionalNullableText,
  metadata: optionalNullableText,
  bufferedObservationTokens: optionalNullableNumber,
  bufferedReflectionTokens: optionalNullableNumber,
  bufferedReflectionInputTokens: optionalNullableNumber,
  reflectedObservationLineCount: optionalNullableNumber,
  observedMessageIds: optionalNullableTexts,
  bufferedMessageIds: optionalNullableTexts,
})
  .index("by_lookup_key", ["lookupKey", "generationCount"])
  .index("by_record_id", ["id"]);

/** `mastra_vector_indexes`: `id` equals `indexName`. */
export const vectorIndexes = defineTable({
  id: v.string(),
  indexName: v.string(),
  metric: v.string(),
  createdAt: v.string(),
  dimension: v.number(),
})
  .index("by_name", ["indexName"])
  .index("by_record_id", ["id"]);

/** `mastra_vectors`: what `ConvexVector` stores; an id is unique within its index. */
export const vectors = defineTable({
  id: v.string(),
  indexName: v.string(),
  embedding: v.array(v.number()),
  metadata: v.optional(v.any()),
})
  .index("by_index_id", ["indexName", "id"])
  // Part of the protocol, although by_index_id begins the same; and it alone is in creation order.
  // eslint-disable-next-line @convex-dev/no-duplicate-indexes
  .index("by_index", ["indexName"]);

/** `mastra_documents`: records of tables that nobody declared. */
export const documents = defineTable({
  table: v.string(),
  primaryKey: v.string(),
  record: v.any(),
})
  .index("by_table_primary", ["table", "primaryKey"])
  // Part of the protocol, although by_table_primary begins the same; it alone is in creation order.
  // eslint-disable-next-line @convex-dev/no-duplicate-indexes
  .index("by_table", ["table"]);

/** `mastra_cache`: one row for each key; `value` is JSON text, `counter` a list's length too. */
export const cache = defineTable({
  key: v.string(),
  keyPrefix: v.string(),
  kind: v.union(
    v.literal("value"),
    v.literal("list"),
    v.literal("counter"),
    v.literal("deleted"),
  ),
  value: optionalText,
  counter: v.optional(v.number()),
  expiresAt: v.union(v.number(), v.null()),
})
  .index("by_key", ["key"])
  .index("by_key_prefix", ["keyPrefix"])

  .index("by_expiry", ["expiresAt"]);

/** `mastra_cache_list_items`: `value` is JSON text. */
export const cacheListItems = defineTable({
  key: v.string(),
  keyPrefix: v.string(),
  index: v.number(),
  value: v.string(),
})
  .index("by_key_index", ["key", "index"])
  .index("by_key_prefix", ["keyPrefix"]);
