/** What the action `memory/search:semantic` reads: the index of messages, and the messages. */
import { type Value, v } from "convex/values";
import { internalQuery } from "../_generated/server";
import { Documents } from "../lib/documents";
import { conflict } from "../lib/errors";
import { vAny } from "./lib/arguments";
import { cosineTo } from "./lib/cosine";
import { countOf, keys } from "./lib/counts";
import { countWaiting, countWaitingOf, messageBinding, staleUpTo } from "./lib/embeddingQueue";
import { hasMetadata, metadataIn } from "./lib/messageConditions";
import { vectorsGoneUpTo } from "./lib/removals";
import { findMessage, PAGE_BYTES_MAX } from "./lib/rows";
import { findVector } from "./lib/vectorIndexes";

/**
 * Return what a search needs to know of the index that holds the vectors of messages.
 *
 * @throws `conflict` when messages are not embedded by this embedder.
 */
export const describe = internalQuery({
  args: { embedder: v.string(), resourceId: v.union(v.string(), v.null()) },
  returns: v.object({
    indexName: v.string(),
    dimension: v.number(),
    count: v.number(),
    pending: v.number(),
  }),
  handler: async (ctx, { embedder, resourceId }) => {
    const documents = new Documents(ctx.db);
    const bound = await messageBinding(documents);
    if (bound?.embedder !== embedder) {
      throw conflict(`The messages of this memory are not embedded by ${embedder}.`);
    }
    const { indexName, dimension } = bound;
    const count = await countOf(documents, keys.vectorsIn(indexName));
    const pending =
      resourceId === null
        ? await countWaiting(documents, indexName)
        : await countWaitingOf(documents, indexName, resourceId);
    return { indexName, dimension, count, pending };
  },
});

/**
 * Return those of some messages that a caller may see, and whose metadata is as asked for.
 *
 * `read` says how many ids were looked at: a call ends early rather than read too much.
 */
export const seen = internalQuery({
  args: {
    ids: v.array(v.string()),
    resourceId: v.union(v.string(), v.null()),
    metadata: vAny,
  },
  returns: v.object({ ids: v.array(v.string()), read: v.number() }),
  handler: async (ctx, args) => {
    const documents = new Documents(ctx.db);
    const wanted = metadataIn(args.metadata as Value | undefined);
    const ids: string[] = [];
    let read = 0;
    for (const id of args.ids) {
      if (documents.bytesRead > PAGE_BYTES_MAX) break;
      read += 1;
      const message = await findMessage(documents, id, args.resourceId ?? undefined);
      if (message !== null && hasMetadata(message, wanted)) ids.push(id);
    }
    return { ids, read };
  },
});

/** Return `[id, cosine]` for those of some messages that have a vector; `read` as in `seen`. */
export const score = internalQuery({
  args: { indexName: v.string(), vector: v.array(v.number()), ids: v.array(v.string()) },
  returns: v.object({
    scores: v.array(v.array(v.union(v.string(), v.number()))),
    read: v.number(),
  }),
  handler: async (ctx, { indexName, vector, ids }) => {
    const documents = new Documents(ctx.db);
    const upto = Math.max(
      (await vectorsGoneUpTo(documents, indexName)) ?? 0,
      await staleUpTo(documents, indexName),
    );
    const cosine = cosineTo(vector);
    const isZero = vector.every((each) => each === 0);
    const scores: (string | number)[][] = [];
    let read = 0;
    for (const id of ids) {
      if (documents.bytesRead > PAGE_BYTES_MAX) break;
      read += 1;
      const row = await findVector(documents, indexName, id);
      if (row === null || row._creationTime <= upto) continue;
      // What has no direction is like nothing and unlike nothing.
      const hasNone = isZero || row.embedding.every((each) => each === 0);
      scores.push([id, hasNone ? 0 : cosine(row.embedding)]);
    }
    return { scores, read };
  },
});
