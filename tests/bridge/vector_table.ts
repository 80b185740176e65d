// What the native vector checks write to; see domains/native_table.mjs.
import { defineTable } from 'convex/server';
import { v } from 'convex/values';

export const crossClientVectors = defineTable({
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
  });
