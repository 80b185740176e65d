/** Vector indexes, and what may be stored in them. */
import type { Value } from "convex/values";
import type { Doc } from "../../_generated/dataModel";
import type { Documents } from "../../lib/documents";
import { conflict, dimensionMismatch, invalidArgument, notFound } from "../../lib/errors";
import { MESSAGE_ID_CHARS_MAX } from "../../lib/limits";
import { quoted } from "../../lib/quoted";
import { nativeDimensions } from "../../lib/vectorTables";
import { isFiniteVector, isObject, type UncheckedObject } from "../../lib/values";
import { text } from "./arguments";
import type { FollowedDocuments } from "./followed";
import { nativeTable } from "./nativeVectors";
import { namespaceIn } from "./principals";

/** Indexes that a refusal names. */
const CHOICES_MAX = 20;

/** The one metric: Convex's vector indexes have no other. */
export const METRIC = "cosine";

/** What is declared of an index (`mastra_vector_indexes`). */
export type VectorIndex = Doc<"mastra_vector_indexes">;
/** A vector (`mastra_vectors`). */
export type Vector = Doc<"mastra_vectors">;

/**
 * The name of an index, checked.
 *
 * @throws `invalid_argument` when it is empty or too long.
 */
export function indexNameOf(name: string): string {
  if (text(name, "indexName").length > MESSAGE_ID_CHARS_MAX) {
    throw invalidArgument(`indexName has at most ${MESSAGE_ID_CHARS_MAX} characters.`);
  }
  return name;
}

/** The index with a name, or null. */
export async function findIndex(
  documents: Documents,
  name: string,
): Promise<VectorIndex | null> {
  return await documents.first("mastra_vector_indexes", { index: "by_name", equals: [name] });
}

/**
 * The index with a name.
 *
 * @throws `not_found` when there is none; the message names those there are.
 */
export async function indexNamed(documents: Documents, indexName: string): Promise<VectorIndex> {
  const name = indexNameOf(indexName);
  const row = await findIndex(documents, name);
  if (row !== null) return row;
  // Of a name space no other hears: its own are named, and outside of all those outside.
  const there = await indexesIn(documents, namespaceIn(name), CHOICES_MAX);
  const choices =
    there.length > 0
      ? `the indexes are ${there.map((each) => each.indexName).join(", ")}`
      : "there are none yet";
  throw notFound(`There is no index ${quoted(name)}; ${choices}. Create it first.`);
}

/**
 * The indexes of a name space, those outside of all (empty), or all (undefined), oldest first.
 */
export async function indexesIn(
  documents: Documents,
  namespace: string | undefined,
  most: number,
): Promise<VectorIndex[]> {
  if (namespace === undefined) return await documents.take("mastra_vector_indexes", {}, most);
  // A name space ends in a colon; in the order of the index, what has it ends before `;`.
  const range =
    namespace === ""
      ? {}
      : { index: "by_name", equals: [], gte: namespace, lt: `${namespace.slice(0, -1)};` };
  const found: VectorIndex[] = [];
  for await (const row of documents.scan("mastra_vector_indexes", range)) {
    if (namespaceIn(row.indexName) === namespace) found.push(row);
    if (found.length >= most) break;
  }
  return found.sort((left, right) => left._creationTime - right._creationTime);
}

/**
 * Make an index unless there is one; say whether it was made.
 *
 * @throws `conflict` when there is one of another dimension, `invalid_argument` when no native
 *   table has this one.
 */
export async function indexOfDimension(
  documents: FollowedDocuments,
  indexName: string,
  dimension: number,
  createdAt: string,
): Promise<boolean> {
  const row = await findIndex(documents, indexName);
  if (row !== null) {
    if (row.dimension === dimension) return false;
    throw conflict(
      `Index ${quoted(indexName)} exists with ${row.dimension} dimensions, not ${dimension}. Use ` +
        "another name, or delete it first.",
    );
  }
  if (nativeTable(dimension) === undefined) throw noTable(dimension);
  const record = { id: indexName, indexName, dimension, metric: METRIC, createdAt };
  await documents.insert("mastra_vector_indexes", record);
  return true;
}

/** The refusal of a dimension that no vector index of the schema has. */
export function noTable(dimension: number) {
  return invalidArgument(
    `There is no native vector table for ${dimension} dimensions: Convex fixes the dimensions of ` +
      `a vector index when it is deployed. There are tables for ` +
      `${nativeDimensions().join(", ")}. Use an embedding of one of these, or add ` +
      `memory_vectors_${dimension}: nativeVectors(${dimension}) in schema.ts and deploy again.`,
    { dimension, dimensions: [...nativeDimensions()] },
  );
}

/**
 * A vector for an index, checked.
 *
 * @param values What was sent.
 * @param what How a refusal names it.
 * @param index Where it goes, or what it is compared with.
 * @throws `invalid_argument` when it is not an array of finite numbers, `dimension_mismatch` when
 *   it has another length than the index.
 */
export function vectorFor(
  values: unknown,
  what: string,
  index: Pick<VectorIndex, "indexName" | "dimension">,
): number[] {
  if (!isFiniteVector(values)) throw invalidArgument(`${what} must be an array of finite numbers.`);
  if (values.length !== index.dimension) {
    throw dimensionMismatch(
      `${what} has ${values.length} dimensions; index ${quoted(index.indexName)} has ` +
        `${index.dimension}.`,
      index.dimension,
      values.length,
    );
  }
  return values;
}

/** What is stored for one vector. */
export type Item = { readonly id: string; readonly embedding: number[]; readonly metadata?: Value };

const ITEM_FIELDS: readonly string[] = ["id", "vector", "metadata", "text"];

/**
 * One item of `upsert`, checked.
 *
 * @throws `invalid_argument`, `dimension_mismatch`: as `vectorFor`, or it is no such object.
 */
export function itemFor(item: unknown, position: number, index: VectorIndex): Item {
  if (!isObject(item)) {
    throw invalidArgument(`items[${position}] must be {id, vector, metadata?}.`);
  }
  const extra = Object.keys(item).filter((name) => !ITEM_FIELDS.includes(name)).sort()[0];
  if (extra !== undefined) {
    throw invalidArgument(
      `Object contains extra field \`${extra}\`; the arguments are ${ITEM_FIELDS.join(", ")}.`,
    );
  }
  const { id, vector, metadata } = item;
  if (typeof id !== "string") throw invalidArgument("id must be non-empty text.");
  const embedding = vectorFor(vector, `items[${position}].vector`, index);
  if (metadata === undefined || metadata === null) return { id: text(id, "id"), embedding };
  return { id: text(id, "id"), embedding, metadata: metadataFor(metadata) };
}

/**
 * Metadata, checked.
 *
 * @throws `invalid_argument` when it is not an object.
 */
export function metadataFor(metadata: unknown): Record<string, Value> {
  if (!isObject(metadata)) throw invalidArgument("metadata must be an object.");
  return metadata as Record<string, Value>;
}

/** The vector with an id, or null. */
export async function findVector(
  documents: Documents,
  indexName: string,
  id: string,
): Promise<Vector | null> {
  const range = { index: "by_index_id", equals: [indexName, id] };
  return await documents.first("mastra_vectors", range);
}

/** Stored metadata with some members replaced. */
export function withMetadata(stored: unknown, given: UncheckedObject): UncheckedObject {
  return { ...(isObject(stored) ? stored : {}), ...given };
}
