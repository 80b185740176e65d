// Our tables in the schema of an app that has vector tables of its own:
//
//   node tests/bridge/bridge.mjs --dir convex --schema tests/bridge/our_functions/schema.ts …
import { defineSchema, defineTable } from 'convex/server';
import { v } from 'convex/values';
import { memoryTables, nativeVectors } from '../../../convex/lib/tables';
import { crossClientVectors } from '../vector_table';

const filterField = v.optional(v.union(v.string(), v.number(), v.boolean(), v.null()));

export default defineSchema({
  ...memoryTables,

  // Short vectors are easier to write in tests than those of any embedder.
  memory_vectors_2: nativeVectors(2),
  memory_vectors_3: nativeVectors(3),
  memory_vectors_4: nativeVectors(4),

  // What the cross-client checks and the contract suite (tests/contract) name in their configs.
  cross_client_vectors: crossClientVectors,
  contract_articles: defineTable({
    id: v.string(),
    embedding: v.array(v.float64()),
    metadata: v.optional(v.any()),
    lang: filterField,
    topic: filterField,
  })
    .index('by_record_id', ['id'])
    .vectorIndex('by_embedding', {
      vectorField: 'embedding',
      dimensions: 3,
      filterFields: ['lang', 'topic'],
    }),
  contract_articles_named: defineTable({
    key: v.string(),
    values: v.array(v.float64()),
    meta: v.optional(v.any()),
    lang: filterField,
  })
    .index('by_record_id', ['key'])
    .vectorIndex('by_embedding', {
      vectorField: 'values',
      dimensions: 3,
      filterFields: ['lang'],
    }),
});
