/**
 * Convex's own vector indexes beside `mastra_vectors`.
 *
 * `mastra_vectors` holds every vector, whoever stored it: that is what Mastra's adapter reads and
 * writes. A vector whose length has a native table (`memory_vectors_<dimension>`) also has a row
 * there, which `memory/vectors:search` finds it by. The second row follows every write of the
 * first, so it makes no difference through which function a vector came.
 */
import { convexToJson, type JSONValue, jsonToConvex, type Value } from "convex/values";
import type { Doc } from "../../_generated/dataModel";
import type { Documents, WritableDocuments } from "../../lib/documents";
import type { NativeVectorTable } from "../../lib/tables";
import { isFiniteVector, isObject } from "../../lib/values";
import { nativeDimensions } from "../../lib/vectorTables";

type VectorRow = Pick<Doc<"mastra_vectors">, "indexName" | "id" | "embedding" | "metadata">;

/** The metadata fields that a search can be narrowed by inside the vector index. */
export const RESOURCE_FIELD = "resource_id";
export const THREAD_FIELD = "thread_id";

/** The native table for vectors of a length; undefined when there is none. */
export function nativeTable(dimension: number): NativeVectorTable | undefined {
  if (!nativeDimensions().includes(dimension)) return undefined;
  return `memory_vectors_${dimension}` as NativeVectorTable;
}

/** What has to hold together in a vector filter, which can only OR equalities, as one value. */
export function together(indexName: string, id: string): string {
  return JSON.stringify([indexName, id]);
}

/** The metadata of a native row. */
export function metadataOf({ metadata }: { metadata?: string | undefined }): Value | undefined {
  return metadata === undefined ? undefined : jsonToConvex(JSON.parse(metadata) as JSONValue);
}

/** Bring the native row of a vector in step with what was written. */
export async function mirror(
  documents: WritableDocuments,
  after: VectorRow,
  before?: VectorRow,
): Promise<void> {
  const table = tableOf(after);
  if (before !== undefined && tableOf(before) !== table) await unmirror(documents, before);
  if (table === undefined) return;
  const { indexName, id, embedding } = after;
  const metadata = after.metadata as Value | undefined;
  const [resourceId, threadId] = [RESOURCE_FIELD, THREAD_FIELD].map((name) =>
    textIn(metadata, name),
  );
  const row = {
    indexName,
    id,
    embedding,
    metadata: metadata === undefined ? undefined : JSON.stringify(convexToJson(metadata)),
    resourceId,
    threadId,
    indexResource: resourceId === undefined ? undefined : together(indexName, resourceId),
    indexThread: threadId === undefined ? undefined : together(indexName, threadId),
  };
  await documents.upsert(table, row, await nativeRow(documents, table, after));
}

/** Remove the native row of a vector that is deleted. */
export async function unmirror(documents: WritableDocuments, row: VectorRow): Promise<void> {
  const table = tableOf(row);
  if (table === undefined) return;
  const native = await nativeRow(documents, table, row);
  if (native !== null) await documents.delete(table, native);
}

function tableOf({ embedding }: VectorRow): NativeVectorTable | undefined {
  return isFiniteVector(embedding) ? nativeTable(embedding.length) : undefined;
}

async function nativeRow(documents: Documents, table: NativeVectorTable, row: VectorRow) {
  const range = { index: "by_index_id", equals: [row.indexName, row.id] };
  return await documents.first(table, range);
}

function textIn(metadata: unknown, name: string): string | undefined {
  const value = isObject(metadata) ? metadata[name] : undefined;
  return typeof value === "string" ? value : undefined;
}
