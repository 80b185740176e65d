// Our tables in the schema of an app that has vector tables of its own:
//
//   node tests/bridge/bridge.mjs --dir convex --schema tests/bridge/our_functions/schema.ts …
import { defineSchema } from 'convex/server';
import { memoryTables, nativeVectors } from '../../../convex/lib/tables';
import { contractTables } from '../contract_tables';
import { crossClientVectors } from '../vector_table';

export default defineSchema({
  ...memoryTables,
  ...contractTables,
  cross_client_vectors: crossClientVectors,

  // Short vectors are easier to write in tests than those of any embedder.
  memory_vectors_2: nativeVectors(2),
  memory_vectors_3: nativeVectors(3),
  memory_vectors_4: nativeVectors(4),
});
