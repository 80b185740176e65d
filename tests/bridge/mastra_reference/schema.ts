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
import { defineSchema } from 'convex/server';
import { contractTables } from '../contract_tables';
import { crossClientVectors } from '../vector_table';

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

  ...contractTables,
  cross_client_vectors: crossClientVectors,
});
