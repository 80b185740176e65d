// What the contract suite (tests/contract) names in its configs of native vectors.
import { defineTable } from 'convex/server';
import { v } from 'convex/values';

const filterField = v.optional(v.union(v.string(), v.number(), v.boolean(), v.null()));

export const contractTables = {
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
};
