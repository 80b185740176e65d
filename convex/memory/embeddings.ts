/**
 * `memory/embeddings:*`: the texts that wait for a vector, handed out and taken back.
 *
 * The deployment never embeds: a server that has an embedder claims texts, embeds them and stores
 * the vectors. Many may do so at once.
 */
import { v } from "convex/values";
import { internalMutation, internalQuery } from "../_generated/server";
import { Documents } from "../lib/documents";
import { invalidArgument, notFound } from "../lib/errors";
import {
  EMBED_CLAIM_CHARS_MAX,
  EMBED_CLAIM_ROWS_MAX,
  EMBED_LEASE_MS_MAX,
  EMBED_LEASE_MS_MIN,
  VECTOR_DIMENSION_MAX,
  VECTOR_DIMENSION_MIN,
  VECTOR_UPSERT_BATCH,
} from "../lib/limits";
import { quoted } from "../lib/quoted";
import { given, nowIso, optionalText, text, vText, whole } from "./lib/arguments";
import {
  bind,
  type Binding,
  bindingOf,
  bindingsOf,
  claimable,
  countWaiting,
  messageBinding,
  retiredBindings,
  ticketed,
  unbind,
} from "./lib/embeddingQueue";
import { type FollowedDocuments, following } from "./lib/followed";
import { enqueueAll, isQueueing } from "./lib/queueing";
import { messagesIndexName, otherEmbedder, storeClaimed, textOf } from "./lib/textVectors";
import { findIndex, indexOfDimension, noTable } from "./lib/vectorIndexes";
import { nativeTable } from "./lib/nativeVectors";

const vDescribed = v.object({
  indexName: v.string(),
  embedder: v.string(),
  dimension: v.number(),
  pending: v.number(),
  changed: v.boolean(),
});

/**
 * Say which embedder makes the vectors of messages; with `switch`, change it.
 *
 * The first call has every message that there is put into the queue.
 */
export const begin = internalMutation({
  args: {
    embedder: v.string(),
    dimension: v.number(),
    switch: given(v.boolean()),
    now: vText,
  },
  returns: vDescribed,
  handler: async (ctx, args) =>
    await following(ctx, async (documents) => {
      const embedder = text(args.embedder, "embedder");
      const dimension = dimensionOf(args.dimension);
      return await begun(documents, { embedder, dimension }, args.switch === true, args.now);
    }),
});

/**
 * Return the embedder of an index, or of messages, and how many texts wait.
 *
 * `waiting` counts over all indexes of `embedder`, where one is given.
 */
export const status = internalQuery({
  args: { indexName: vText, embedder: vText },
  returns: v.object({
    indexName: v.union(v.string(), v.null()),
    embedder: v.union(v.string(), v.null()),
    dimension: v.union(v.number(), v.null()),
    pending: v.number(),
    waiting: v.optional(v.number()),
  }),
  handler: async (ctx, args) => {
    const documents = new Documents(ctx.db);
    const name = optionalText(args.indexName, "indexName");
    const embedder = optionalText(args.embedder, "embedder");
    const bound = await (name === undefined
      ? messageBinding(documents)
      : bindingOf(documents, name));
    const answer =
      bound === null
        ? { indexName: name ?? null, embedder: null, dimension: null, pending: 0 }
        : await described(documents, bound);
    if (embedder === undefined) return answer;
    let waiting = 0;
    for (const { indexName } of await bindingsOf(documents, embedder)) {
      waiting += await countWaiting(documents, indexName);
    }
    return { ...answer, waiting };
  },
});

/** Hand out texts that wait for this embedder, newest first, for `leaseMs`. */
export const claim = internalMutation({
  args: { embedder: v.string(), limit: v.number(), leaseMs: v.number() },
  returns: v.object({ items: v.array(v.object({ ticket: v.number(), text: v.string() })) }),
  handler: async (ctx, args) =>
    await following(ctx, async (documents) => {
      const embedder = text(args.embedder, "embedder");
      const limit = whole(args.limit, "limit", 1, EMBED_CLAIM_ROWS_MAX);
      const lease = whole(args.leaseMs, "leaseMs", EMBED_LEASE_MS_MIN, EMBED_LEASE_MS_MAX);
      const claimedUntil = Date.now() + lease;
      const items: { ticket: number; text: string }[] = [];
      let chars = 0;
      for await (const row of claimable(documents, await bindingsOf(documents, embedder))) {
        const said = await textOf(documents, row);
        if (said === undefined || said === "") {
          // Nothing to embed: the message is gone, or has no words.
          await documents.delete("memory_embedding_queue", row);
        } else {
          await documents.patch("memory_embedding_queue", row, { claimedUntil });
          items.push({ ticket: row.ticket, text: said });
          chars += said.length;
        }
        if (items.length >= limit || chars >= EMBED_CLAIM_CHARS_MAX || documents.isHalfDone) break;
      }
      if (items.length === 0) await forgetRetired(documents);
      return { items };
    }),
});

/** Store the vectors of claimed texts; those whose text has changed meanwhile are dropped. */
export const store = internalMutation({
  args: {
    embedder: v.string(),
    items: v.array(v.object({ ticket: v.number(), vector: v.any() })),
  },
  returns: v.object({ stored: v.number(), stale: v.number() }),
  handler: async (ctx, args) =>
    await following(ctx, async (documents) => {
      const embedder = text(args.embedder, "embedder");
      const { length } = args.items;
      if (length < 1 || length > VECTOR_UPSERT_BATCH) {
        throw invalidArgument(`items must be an array of 1 to ${VECTOR_UPSERT_BATCH} vectors.`);
      }
      let stored = 0;
      for (const { ticket, vector } of args.items) {
        if (await storeClaimed(documents, embedder, ticketOf(ticket), vector)) stored += 1;
      }
      return { stored, stale: length - stored };
    }),
});

/** Give claimed texts back at once: their worker ends, or could not embed them. */
export const release = internalMutation({
  args: { tickets: v.array(v.number()) },
  returns: v.null(),
  handler: async (ctx, { tickets }) =>
    await following(ctx, async (documents) => {
      if (tickets.length < 1 || tickets.length > EMBED_CLAIM_ROWS_MAX) {
        throw invalidArgument(`tickets must be an array of 1 to ${EMBED_CLAIM_ROWS_MAX} numbers.`);
      }
      for (const ticket of tickets) {
        const row = await ticketed(documents, ticketOf(ticket));
        if (row !== null) await documents.patch("memory_embedding_queue", row, { claimedUntil: 0 });
      }
      return null;
    }),
});

/** Change the embedder of an index that has kept its texts, and have all of them embedded. */
export const reembed = internalMutation({
  args: { indexName: v.string(), embedder: v.string(), dimension: v.number() },
  returns: vDescribed,
  handler: async (ctx, args) =>
    await following(ctx, async (documents) => {
      const indexName = text(args.indexName, "indexName");
      const embedder = text(args.embedder, "embedder");
      const dimension = dimensionOf(args.dimension);
      const bound = await bindingOf(documents, indexName);
      if (bound === null) {
        throw notFound(
          `Index ${quoted(indexName)} keeps no texts to embed again: its vectors came from ` +
            "callers. Make a new index and upsert texts.",
        );
      }
      if (bound.use === "messages") return await begun(documents, { embedder, dimension }, true);
      if (nativeTable(dimension) === undefined) throw noTable(dimension);
      const index = await findIndex(documents, indexName);
      if (index !== null && index.dimension !== dimension) {
        await documents.patch("mastra_vector_indexes", index, { dimension });
      }
      const again = await bind(documents, { indexName, embedder, dimension, use: "texts" });
      await enqueueAll(documents, again);
      return await settled(documents, again, true);
    }),
});

// --- Indexes

async function begun(
  documents: FollowedDocuments,
  to: Pick<Binding, "embedder" | "dimension">,
  isSwitch: boolean,
  now?: string | null,
) {
  const { embedder, dimension } = to;
  const bound = await messageBinding(documents);
  if (bound !== null && bound.embedder === embedder && bound.dimension === dimension) {
    return await settled(documents, bound, false);
  }
  if (bound !== null && !isSwitch) {
    throw otherEmbedder("The messages of this memory", bound.embedder, embedder);
  }
  const indexName = messagesIndexName(dimension);
  await indexOfDimension(documents, indexName, dimension, nowIso(now));
  const again = await bind(documents, { indexName, embedder, dimension, use: "messages" });
  await enqueueAll(documents, again);
  return await settled(documents, again, true);
}

/** What is said of an index after a call that may have changed what waits in it. */
async function settled(documents: FollowedDocuments, bound: Binding, changed: boolean) {
  await documents.settle();
  return { ...(await described(documents, bound)), changed };
}

async function described(documents: Documents, { indexName, embedder, dimension }: Binding) {
  const pending = await countWaiting(documents, indexName);
  return { indexName, embedder, dimension, pending };
}

/**
 * Forget the indexes that held vectors of messages before, once every message has its new one.
 * What waits in them goes first, a batch at a time.
 */
async function forgetRetired(documents: FollowedDocuments): Promise<void> {
  const before = await retiredBindings(documents);
  const bound = await messageBinding(documents);
  if (before.length === 0 || bound === null) return;
  if (await isQueueing(documents, bound.indexName)) return;
  if (await anyWaiting(documents, bound)) return;
  for (const each of before) {
    const range = { index: "by_index", equals: [each.indexName] };
    const { rows, hasMore } = await documents.some("memory_embedding_queue", range, WAITING_BATCH);
    for (const row of rows) await documents.delete("memory_embedding_queue", row);
    if (hasMore) return;
    await unbind(documents, each);
  }
}

/** Texts of a retired index that one call takes out of the queue. */
const WAITING_BATCH = 1000;

async function anyWaiting(documents: Documents, { indexName }: Binding): Promise<boolean> {
  const range = { index: "by_index", equals: [indexName] };
  return (await documents.first("memory_embedding_queue", range)) !== null;
}

// --- Arguments

function dimensionOf(dimension: number): number {
  return whole(dimension, "dimension", VECTOR_DIMENSION_MIN, VECTOR_DIMENSION_MAX);
}

function ticketOf(ticket: number): number {
  return whole(ticket, "ticket", 0, 2 ** 53);
}
