/** Removing vectors: some of an index a batch at a time, or all of it at once to who looks. */
import { makeFunctionReference } from "convex/server";
import type { Doc } from "../../_generated/dataModel";
import type { Documents } from "../../lib/documents";
import { READ_BYTES_MAX } from "../../lib/limits";
import { countOf, keys } from "./counts";
import { bindingOf, unbind } from "./embeddingQueue";
import type { Filter } from "./filter";
import type { FollowedDocuments } from "./followed";
import { findVector, type Vector, type VectorIndex } from "./vectorIndexes";
import { look } from "./vectorSelection";

/** Vectors one call removes. */
export const REMOVE_VECTORS_MAX = 1500;
/** Texts, and places in the queue, that one call removes with them. */
const REMOVE_TEXTS_MAX = 1000;
/** Tables whose rows go with their index; the vectors first. */
const OF_INDEXES = ["mastra_vectors", "memory_kept_texts", "memory_embedding_queue"] as const;
/** Bytes one call reads to find vectors: each that goes is read once more with its native row. */
const LOOK_BYTES_MAX = READ_BYTES_MAX / 4;
/** A removal by filter that nobody went on with for so long starts over. */
export const SCAN_KEPT_MS = 60_000;
/** Scans of one index that are forgotten with it. */
const SCANS_MAX = 64;

const CONTINUE = makeFunctionReference<"mutation", { indexName: string }, null>(
  "memory/upkeep:removeVectors",
);

/** What a removal answers. */
export type Removed = { readonly removed: number; readonly hasMore: boolean };

/** Remove vectors by id. Repeated with the same ids, it goes on with those that are left. */
export async function removeByIds(
  documents: FollowedDocuments,
  index: VectorIndex,
  ids: Iterable<string>,
): Promise<Removed> {
  let removed = 0;
  for (const id of new Set(ids)) {
    const row = await findVector(documents, index.indexName, id);
    if (row === null) continue;
    if (removed >= REMOVE_VECTORS_MAX || documents.bytesRead > READ_BYTES_MAX / 2) {
      return { removed, hasMore: true };
    }
    if (!(await documents.isGone("mastra_vectors", row))) removed += 1;
    await documents.delete("mastra_vectors", row);
  }
  return { removed, hasMore: false };
}

/**
 * Remove the vectors that a filter selects. One call looks at as many as a transaction may read;
 * repeated with the same filter, it goes on behind them.
 */
export async function removeByFilter(
  documents: FollowedDocuments,
  index: VectorIndex,
  filter: Filter,
  written: string,
): Promise<Removed> {
  const { indexName } = index;
  const range = { index: "by_index_filter", equals: [indexName, written] };
  const scan = await documents.first("memory_vector_scans", range);
  const calledAt = Date.now();
  const isRecent = scan !== null && calledAt - scan.calledAt < SCAN_KEPT_MS;
  const { selected, after } = await select(
    documents,
    look(documents, index, filter, isRecent ? scan.after : undefined),
  );
  for (const row of selected) await documents.delete("mastra_vectors", row);
  if (after !== undefined) {
    const row = { indexName, filter: written, after, calledAt };
    await documents.upsert("memory_vector_scans", row, scan);
  } else if (scan !== null) {
    await documents.delete("memory_vector_scans", scan);
  }
  return { removed: selected.length, hasMore: after !== undefined };
}

async function select(
  documents: FollowedDocuments,
  seen: ReturnType<typeof look>,
): Promise<{ selected: Vector[]; after: number | undefined }> {
  const selected: Vector[] = [];
  const start = documents.bytesRead;
  for await (const { created, load } of seen) {
    const isFull =
      selected.length >= REMOVE_VECTORS_MAX || documents.bytesRead - start > LOOK_BYTES_MAX;
    if (isFull) return { selected, after: created };
    const row = await load();
    if (row !== undefined) selected.push(row);
  }
  return { selected, after: undefined };
}

/**
 * Remove every vector of an index, with the texts they were made from and what waits to be made:
 * at once to whoever looks, the rows a batch at a time.
 *
 * @returns How many vectors the index had.
 */
export async function removeAll(
  documents: FollowedDocuments,
  indexName: string,
): Promise<number> {
  const bound = await bindingOf(documents, indexName);
  if (bound !== null) await unbind(documents, bound);
  const counted = await countOf(documents, keys.vectorsIn(indexName));
  const all = { index: "by_index", equals: [indexName] };
  const isEmpty = (await documents.first("mastra_vectors", all)) === null;
  const scans = { index: "by_index_filter", equals: [indexName] };
  for (const scan of await documents.take("memory_vector_scans", scans, SCANS_MAX)) {
    await documents.delete("memory_vector_scans", scan);
  }
  if (isEmpty && bound === null) return 0;
  const earlier = await removalOf(documents, indexName);
  if (earlier !== null) await documents.delete("memory_vector_removals", earlier);
  await beginRemoval(documents, indexName);
  await documents.dropCount(keys.vectorsIn(indexName));
  await documents.dropCount(keys.waitingIn(indexName));
  const removed = await removeBatch(documents, indexName);
  const isWhole = earlier === null && (await removalOf(documents, indexName)) === null;
  // What was stored before these functions were deployed has not been counted.
  return isWhole ? removed : Math.max(counted, earlier === null ? removed : 0);
}

/** Put everything out of sight that an index has by now. */
async function beginRemoval(documents: FollowedDocuments, indexName: string): Promise<void> {
  await documents.insert("memory_vector_removals", { indexName, upto: 0 });
  const begun = await removalOf(documents, indexName);
  if (begun === null) throw new Error("A removal just begun is there.");
  // Whatever is there was created before this row.
  await documents.patch("memory_vector_removals", begun, { upto: begun._creationTime });
}

/** Go on removing the vectors of an index, and see to it that somebody does. */
export async function continueVectorRemoval(
  documents: FollowedDocuments,
  indexName: string,
): Promise<void> {
  await removeBatch(documents, indexName);
}

async function removeBatch(documents: FollowedDocuments, indexName: string): Promise<number> {
  const removal = await removalOf(documents, indexName);
  if (removal === null) return 0;
  const [vectors, ...rest] = OF_INDEXES;
  const removed = await removeRows(documents, vectors, removal, REMOVE_VECTORS_MAX);
  let { hasMore } = removed;
  for (const table of rest) {
    const most = hasMore ? 0 : REMOVE_TEXTS_MAX;
    hasMore = (await removeRows(documents, table, removal, most)).hasMore || hasMore;
  }
  if (hasMore) await documents.scheduler.runAfter(0, CONTINUE, { indexName });
  else await documents.delete("memory_vector_removals", removal);
  return removed.count;
}

async function removeRows(
  documents: FollowedDocuments,
  table: (typeof OF_INDEXES)[number],
  { indexName, upto }: Doc<"memory_vector_removals">,
  most: number,
): Promise<{ count: number; hasMore: boolean }> {
  if (most === 0) return { count: 0, hasMore: true };
  const range = { index: "by_index", equals: [indexName], lte: upto };
  const { rows, hasMore } = await documents.some(table, range, most);
  for (const row of rows) await documents.delete(table, row);
  return { count: rows.length, hasMore };
}

async function removalOf(
  documents: Documents,
  indexName: string,
): Promise<Doc<"memory_vector_removals"> | null> {
  const range = { index: "by_index", equals: [indexName] };
  return await documents.first("memory_vector_removals", range);
}
