/** Where rows that move out come from: in creation order, without those that are gone. */
import type { Value } from "convex/values";
import type { DatabaseReader } from "../../_generated/server";
import type { Doc } from "../../_generated/dataModel";
import { isExpired, ITEMS, KEYS } from "../../lib/cacheRows";
import { Documents, type StoredRow } from "../../lib/documents";
import { goneUpTo, vectorsGoneUpTo } from "./removals";
import { isOver, isStale, type Notes, notesOf } from "./transferNotes";
import { isMoved, type MovedTable, nativeTableNamed } from "./transferTables";

/** A place in a table: just after one row. */
export type Place = { readonly created: number; readonly id: string };

/** A row, whether it is there for whoever looks, and what is noted of it, if anything is. */
export type Seen = {
  readonly row: StoredRow;
  readonly isShown: boolean;
  readonly noted?: Notes | undefined;
};

interface DynamicReader {
  query(table: string): {
    withIndex(
      name: "by_creation_time",
      range: (q: { gte(field: "_creationTime", value: number): unknown }) => unknown,
    ): AsyncIterable<StoredRow>;
  };
}

/** The rows of a table after a place. */
export async function* rowsAfter(
  reader: DatabaseReader,
  table: string,
  place: Place | null,
): AsyncGenerator<Seen> {
  const documents = new Documents(reader);
  const from = place?.created ?? 0;
  if (!isMoved(table)) {
    const { name } = nativeTableNamed(table);
    const rows = (reader as unknown as DynamicReader)
      .query(name)
      .withIndex("by_creation_time", (q) => q.gte("_creationTime", from));
    for await (const row of rows) {
      documents.countRow(row);
      if (isBeyond(row, place)) yield { row, isShown: true };
    }
    return;
  }
  const visible = new Visible(documents, table);
  for await (const found of documents.scan(table, { gte: from })) {
    const row = found as unknown as StoredRow;
    if (!isBeyond(row, place)) continue;
    const notes = await notesOf(documents, table, row);
    const isShown = !isOver(notes) && (await visible.shows(row));
    yield { row, isShown, noted: Object.keys(notes).length > 0 ? notes : undefined };
  }
}

function isBeyond({ _creationTime: created, _id: id }: StoredRow, place: Place | null): boolean {
  // Rows that different calls wrote at the same moment stand in the order of their ids.
  return place === null || created > place.created || (created === place.created && id > place.id);
}

/** Which rows are there for whoever looks, asked once for all that hang together. */
class Visible {
  readonly #known = new Map<string, Promise<number | undefined>>();

  constructor(
    private readonly documents: Documents,
    private readonly table: MovedTable,
  ) {}

  async shows(row: StoredRow): Promise<boolean> {
    const { documents } = this;
    switch (this.table) {
      case "mastra_messages":
        return await this.#isAfter(row, row["thread_id"], goneUpTo);
      case "mastra_vectors":
        if (await isStale(documents, row as unknown as Doc<"mastra_vectors">)) return false;
        return await this.#isAfter(row, row["indexName"], vectorsGoneUpTo);
      case KEYS:
        return !isDead(row as unknown as Doc<typeof KEYS>);
      case ITEMS: {
        const length = await this.#once(row["key"], (key) => listLength(documents, key));
        return length !== undefined && Number(row["index"]) < length;
      }
      default:
        return true;
    }
  }

  async #isAfter(
    row: StoredRow,
    key: Value | undefined,
    ask: (documents: Documents, key: string) => Promise<number | undefined>,
  ): Promise<boolean> {
    const upto = await this.#once(key, (text) => ask(this.documents, text));
    return upto === undefined || row._creationTime > upto;
  }

  async #once(
    key: Value | undefined,
    ask: (key: string) => Promise<number | undefined>,
  ): Promise<number | undefined> {
    // The declaration of each of these tables has text there.
    if (typeof key !== "string") return undefined;
    const known = this.#known.get(key) ?? ask(key);
    this.#known.set(key, known);
    return await known;
  }
}

/** Whether a row of the cache is as if it were not there: expired, or being removed. */
export function isDead(row: Doc<typeof KEYS>): boolean {
  return row.kind === "deleted" || isExpired(row);
}

/** How many items the list of a key has; undefined when there is no such list. */
export async function listLength(documents: Documents, key: string): Promise<number | undefined> {
  const row = await documents.first(KEYS, { index: "by_key", equals: [key] });
  return row?.kind === "list" && !isDead(row) ? (row.counter ?? 0) : undefined;
}
