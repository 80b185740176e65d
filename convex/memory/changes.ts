/** `memory/changes:list`: what was written, in the order in which it was committed. */
import { v } from "convex/values";
import { internalQuery } from "../_generated/server";
import { Documents } from "../lib/documents";
import { CHANGES_PAGE_MAX } from "../lib/limits";
import { optionalText, vText, whole } from "./lib/arguments";
import { firstNumber, lastNumber, type Numbered, waiting } from "./lib/history";

const vChange = v.object({
  sequence: v.number(),
  table: v.string(),
  id: v.string(),
  kind: v.union(v.literal("insert"), v.literal("update"), v.literal("delete")),
  threadId: v.optional(v.string()),
  resourceId: v.optional(v.string()),
});

/**
 * Return the writes after a sequence number, oldest first, and the oldest and the newest number
 * there is. The oldest are forgotten in time: whoever has read less far than just before `first`
 * has missed some, and starts over from the rows themselves.
 */
export const list = internalQuery({
  args: { after: v.number(), limit: v.number(), resourceId: vText },
  returns: v.object({ changes: v.array(vChange), first: v.number(), last: v.number() }),
  handler: async (ctx, args) => {
    const documents = new Documents(ctx.db);
    const after = whole(args.after, "after", 0, 2 ** 53);
    const limit = whole(args.limit, "limit", 1, CHANGES_PAGE_MAX);
    const scope = optionalText(args.resourceId, "resourceId");
    const numbered = await numberedAfter(documents, after, limit, scope);
    const last = await lastNumber(documents);
    const unnumbered = await waiting(documents, last);
    const found = [
      ...numbered,
      ...unnumbered.filter(
        ({ sequence, change }) =>
          sequence > after && (scope === undefined || change.resourceId === scope),
      ),
    ];
    return {
      changes: found.slice(0, limit).map(({ sequence, change }) => {
        const { table, id, kind, threadId, resourceId } = change;
        return { sequence, table, id, kind, threadId, resourceId };
      }),
      first: await firstNumber(documents, last),
      last: last + unnumbered.length,
    };
  },
});

async function numberedAfter(
  documents: Documents,
  after: number,
  limit: number,
  scope: string | undefined,
): Promise<Numbered[]> {
  const range =
    scope === undefined
      ? { index: "by_sequence", gt: after }
      : { index: "by_resource_sequence", equals: [scope], gt: after };
  const rows = await documents.take("memory_changes", range, limit);
  return rows.map((change) => ({ sequence: change.sequence ?? 0, change }));
}
