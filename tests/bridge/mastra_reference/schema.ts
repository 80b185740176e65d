// Mastra's own tables, as an application that uses all of @mastra/convex declares them.
import {
  mastraBackgroundTasksTable,
  mastraCacheListItemsTable,
  mastraCacheTable,
  mastraChannelConfigTable,
  mastraChannelInstallationsTable,
  mastraDocumentsTable,
  mastraMessagesTable,
  mastraObservationalMemoryTable,
  mastraResourcesTable,
  mastraScheduleTriggersTable,
  mastraSchedulesTable,
  mastraScoresTable,
  mastraThreadsTable,
  mastraVectorIndexesTable,
  mastraVectorsTable,
  mastraWorkflowSnapshotsTable,
} from '@mastra/convex/schema';
import { defineSchema, defineTable } from 'convex/server';
import { v } from 'convex/values';

export default defineSchema({
  mastra_background_tasks: mastraBackgroundTasksTable,
  mastra_cache: mastraCacheTable,
  mastra_cache_list_items: mastraCacheListItemsTable,
  mastra_channel_config: mastraChannelConfigTable,
  mastra_channel_installations: mastraChannelInstallationsTable,
  mastra_documents: mastraDocumentsTable,
  mastra_messages: mastraMessagesTable,
  mastra_observational_memory: mastraObservationalMemoryTable,
  mastra_resources: mastraResourcesTable,
  mastra_schedule_triggers: mastraScheduleTriggersTable,
  mastra_schedules: mastraSchedulesTable,
  mastra_scorers: mastraScoresTable,
  mastra_threads: mastraThreadsTable,
  mastra_vector_indexes: mastraVectorIndexesTable,
  mastra_vectors: mastraVectorsTable,
  mastra_workflow_snapshots: mastraWorkflowSnapshotsTable,

  // What the native vector checks write to; see ../domains/native_table.mjs.
  cross_client_vectors: defineTable({
    id: v.string(),
    embedding: v.array(v.float64()),
    metadata: v.optional(v.any()),
    category: v.optional(v.union(v.string(), v.null())),
    rank: v.optional(v.number()),
    active: v.optional(v.boolean()),
  })
    .index('by_record_id', ['id'])
    .vectorIndex('by_embedding', {
      vectorField: 'embedding',
      dimensions: 32,
      filterFields: ['category', 'rank', 'active'],
    }),
});
