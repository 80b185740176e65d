/** The vectors of an index that a filter selects, read as narrowly as an index allows. */
import type { Value } from "convex/values";
import type { Documents, Range } from "../../lib/documents";
import { VECTOR_FILTER_VALUES_MAX } from "../../lib/limits";
import type { NativeVectorTable } from "../../lib/tables";
import type { Node } from "./conditions";
import type { Filter } from "./filter";
import { staleUpTo } from "./embeddingQueue";
import { metadataOf, nativeTable, RESOURCE_FIELD, THREAD_FIELD, together } from "./nativeVectors";
import { vectorsGoneUpTo } from "./removals";
import { findVector, type Vector, type VectorIndex } from "./vectorIndexes";

/** A field of native rows, and the values of which it must have one. */
export type Narrowing = {
  readonly field: "indexThread" | "indexResource";
  readonly values: readonly string[];
};

/**
 * What of a filter native rows can be narrowed by: that `thread_id`, or else `resource_id`, is a
 * text, or one of several.
 *
 * @returns How to narrow, and what remains to be asked of each row; no narrowing when the filter
 *   says nothing of the kind.
 */
export function narrowed(
  filter: Filter,
  indexName: string,
): { narrowing: Narrowing | undefined; rest: readonly Node[] } {
  const parts = filter.parts();
  for (const [name, field] of [
    [THREAD_FIELD, "indexThread"],
    [RESOURCE_FIELD, "indexResource"],
  ] as const) {
    for (const part of parts) {
      const values = textsAsked(part, name);
      if (values === undefined) continue;
      const narrowing = { field, values: values.map((value) => together(indexName, value)) };
      return { narrowing, rest: parts.filter((each) => each !== part) };
    }
  }
  return { narrowing: undefined, rest: parts };
}

function textsAsked(node: Node, name: string): string[] | undefined {
  if (node.kind !== "condition" || node.path !== name) return undefined;
  const asked: Value[] =
    node.operator === "eq"
      ? [node.operand]
      : node.operator === "in" && Array.isArray(node.operand)
        ? node.operand
        : [];
  const texts = asked.filter((value) => typeof value === "string");
  const areTexts = texts.length === asked.length && texts.length > 0;
  return areTexts && texts.length <= VECTOR_FILTER_VALUES_MAX ? texts : undefined;
}

/** A row that was looked at; `load` gives the vector if the filter selects it, else undefined. */
export type Seen = {
  readonly created: number;
  readonly load: () => Promise<Vector | undefined>;
};

/**
 * Look at the rows of an index that a filter may select, in creation order.
 *
 * @param documents Where to read.
 * @param index The index.
 * @param filter What their metadata must satisfy.
 * @param after The creation time to begin at.
 */
export async function* look(
  documents: Documents,
  index: VectorIndex,
  filter: Filter,
  after?: number,
): AsyncGenerator<Seen> {
  const { indexName, dimension } = index;
  const since = after === undefined ? {} : { gte: after };
  const upto = (await vectorsGoneUpTo(documents, indexName)) ?? Number.NEGATIVE_INFINITY;
  // Vectors of an earlier embedder may have another length, and so another native table.
  const isMixed = (await staleUpTo(documents, indexName)) > 0;
  const table = isMixed ? undefined : nativeTable(dimension);
  const range = narrowRange(filter, indexName);
  if (table !== undefined && range !== undefined) {
    yield* lookAtNative(documents, table, { ...range, ...since }, filter, upto);
    return;
  }
  const all = { index: "by_index", equals: [indexName], ...since };
  for await (const row of documents.scan("mastra_vectors", all)) {
    const selected = row._creationTime > upto && filter.matches(row.metadata as Value);
    yield { created: row._creationTime, load: async () => (selected ? row : undefined) };
  }
}

/** The range of native rows that a filter on one thread or resource leaves. */
function narrowRange(filter: Filter, indexName: string): Range | undefined {
  const { narrowing } = narrowed(filter, indexName);
  if (narrowing?.values.length !== 1) return undefined;
  const index = narrowing.field === "indexThread" ? "by_index_thread" : "by_index_resource";
  return { index, equals: [...narrowing.values] };
}

async function* lookAtNative(
  documents: Documents,
  table: NativeVectorTable,
  range: Range,
  filter: Filter,
  upto: number,
): AsyncGenerator<Seen> {
  for await (const native of documents.scan(table, range)) {
    const selected = filter.matches(metadataOf(native));
    const load = async () => {
      if (!selected) return undefined;
      const row = await findVector(documents, native.indexName, native.id);
      return row === null || row._creationTime <= upto ? undefined : row;
    };
    yield { created: native._creationTime, load };
  }
}
