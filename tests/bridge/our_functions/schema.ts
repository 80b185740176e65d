// Our tables in the schema of an app that has a vector table of its own:
//
//   node tests/bridge/bridge.mjs --dir convex --schema tests/bridge/our_functions/schema.ts …
import { defineSchema } from 'convex/server';
import { memoryTables } from '../../../convex/lib/tables';
import { crossClientVectors } from '../vector_table';

export default defineSchema({ ...memoryTables, cross_client_vectors: crossClientVectors });
