/** Where rows that move in go, where their tables have rules of their own. */
import type { Value } from "convex/values";
import type { Doc } from "../../_generated/dataModel";
import type { DatabaseWriter } from "../../_generated/server";
import { ITEMS, itemsOf, KEYS } from "../../lib/cacheRows";
import { byRecordId, type DynamicWriter, type StoredRow } from "../../lib/documents";
import { conflict, dimensionMismatch, invalidArgument } from "../../lib/errors";
import { quoted } from "../../lib/quoted";
import { checkRow } from "../../lib/rowCheck";
import type { MemoryTable } from "../../lib/tables";
import { check, isFiniteVector, isObject, type UncheckedObject } from "../../lib/values";
import schema from "../../schema";
import { messageBinding } from "./embeddingQueue";
import type { FollowedDocuments } from "./followed";
import {
  bindIndex,
  boundIndex,
  insertMarked,
  isOver,
  isStale,
  markMessage,
  markThread,
  type Notes,
  vectorArrived,
} from "./transferNotes";
import { isDead, listLength } from "./transferSources";
import { isMoved, type MovedTable, type NativeTable, nativeTableNamed } from "./transferTables";
import { numberIn, type Outcome, type Policy, Rows, Target, textIn } from "./transferTarget";
import type { Fields } from "./transferText";
import { takeAway } from "./trash";

/** What is said of a native vector table elsewhere. */
export type NativeArgument = {
  readonly dimension: number;
  readonly idField: string;
  readonly vectorField: string;
};

/** List items that one row of the cache may take with it in one call. */
const ITEMS_MAX = 1000;

class Threads extends Rows<"mastra_threads"> {
  override async restore(fields: Fields, notes: Notes): Promise<Outcome | undefined> {
    return isOver(notes) ? "dropped" : await super.restore(fields, notes);
  }

  protected override refuse(found: Doc<"mastra_threads">, fields: Fields): void {
    if (found.resourceId === fields["resourceId"]) return;
    throw conflict(
      `Thread ${quoted(found.id)} is there already and belongs to another resource; their ` +
        "messages would be mixed. Delete it there first, or leave this one out.",
    );
  }

  protected override async store(fields: Fields, notes: Notes): Promise<void> {
    await super.store(fields, notes);
    await markThread(this.documents, textIn(fields, "id"), notes);
  }

  protected override async replace(
    found: Doc<"mastra_threads"> & StoredRow,
    fields: Fields,
    notes: Notes,
  ): Promise<Outcome | undefined> {
    await markThread(this.documents, found.id, notes);
    return await super.replace(found, fields, notes);
  }
}

class Messages extends Rows<"mastra_messages"> {
  override async restore(fields: Fields, notes: Notes): Promise<Outcome | undefined> {
    return isOver(notes) ? "dropped" : await super.restore(fields, notes);
  }

  protected override async takeAway(row: Doc<"mastra_messages">): Promise<void> {
    await takeAway(this.documents, row);
  }

  protected override async store(fields: Fields, notes: Notes): Promise<void> {
    const id = textIn(fields, "id");
    await insertMarked(this.documents, id, notes, () => this.insert(fields));
  }

  protected override async replace(
    found: Doc<"mastra_messages"> & StoredRow,
    fields: Fields,
    notes: Notes,
  ): Promise<Outcome | undefined> {
    await markMessage(this.documents, found.id, notes);
    return await super.replace(found, fields, notes);
  }
}

class VectorIndexes extends Rows<"mastra_vector_indexes"> {
  override async restore(fields: Fields, given: Notes): Promise<Outcome | undefined> {
    const indexName = textIn(fields, "indexName");
    const { embedder, ofMessages = false } = await this.#notesHere(indexName, given);
    const isNew = await this.#isToBeBound(indexName, embedder);
    const outcome = await super.restore(fields, {});
    if (isNew && embedder !== undefined && !this.policy.dryRun) {
      const dimension = numberIn(fields, "dimension");
      await bindIndex(this.documents, { indexName, dimension }, embedder, ofMessages);
    }
    return outcome;
  }

  async #notesHere(indexName: string, notes: Notes): Promise<Notes> {
    const own = notes.ofMessages === true ? await messageBinding(this.documents) : null;
    // Where messages have vectors of their own, these are ordinary ones.
    return own !== null && own.indexName !== indexName ? {} : notes;
  }

  /** Whether an index is to be bound to an embedder; refused where others made its vectors. */
  async #isToBeBound(indexName: string, embedder: string | undefined): Promise<boolean> {
    const bound = await boundIndex(this.documents, indexName);
    if (bound !== null) {
      if (bound.embedder !== embedder) throw otherOrigin(indexName, bound.embedder);
      return false;
    }
    if (embedder === undefined) return false;
    if (await this.#hasVectors(indexName)) throw otherOrigin(indexName, null);
    return true;
  }

  protected override refuse(found: Doc<"mastra_vector_indexes">, fields: Fields): void {
    if (found.dimension === fields["dimension"]) return;
    throw conflict(
      `Vector index ${quoted(found.id)} is there already with ${found.dimension} dimensions, ` +
        `not ${numberIn(fields, "dimension")}; their vectors cannot be compared. Delete it there ` +
        "first, or leave this one and its vectors out.",
    );
  }

  protected override async hasNotes(): Promise<boolean> {
    // What they would say of another embedder has been refused.
    return true;
  }

  async #hasVectors(indexName: string): Promise<boolean> {
    const range = { index: "by_index", equals: [indexName], descending: true };
    const newest = await this.documents.first("mastra_vectors", range);
    return newest !== null && !(await this.documents.isGone("mastra_vectors", newest));
  }
}

function otherOrigin(indexName: string, here: string | null) {
  const there = here === null ? "come from callers" : `were made of texts by ${here}`;
  return conflict(
    `Vector index ${quoted(indexName)} is there already, and its vectors ${there}, unlike those ` +
      "that are to be stored; they cannot be compared. Delete it there first, or leave this one " +
      "out.",
  );
}

class Vectors extends Rows<"mastra_vectors"> {
  override async restore(fields: Fields, notes: Notes): Promise<Outcome | undefined> {
    this.keyOf(fields);
    const bound = await boundIndex(this.documents, textIn(fields, "indexName"));
    if (bound === null) return await super.restore(fields, {});
    if (bound.embedder !== notes.embedder) throw otherOrigin(bound.indexName, bound.embedder);
    if (bound.use === "messages" && (await this.#isOfAnother(fields))) return "dropped";
    return await super.restore(fields, notes);
  }

  protected override async find(fields: Fields) {
    const row = await super.find(fields);
    if (row === null || !(await isStale(this.documents, row))) return row;
    if (!this.policy.dryRun) await this.documents.delete("mastra_vectors", row);
    return null;
  }

  protected override async store(fields: Fields, notes: Notes): Promise<void> {
    await super.store(fields, notes);
    await vectorArrived(this.documents, fields as unknown as Doc<"mastra_vectors">, notes);
  }

  protected override async replace(
    found: Doc<"mastra_vectors"> & StoredRow,
    fields: Fields,
    notes: Notes,
  ): Promise<Outcome | undefined> {
    const outcome = await super.replace(found, fields, notes);
    await vectorArrived(this.documents, found, notes);
    return outcome;
  }

  /** Whether the message here under this id is not the one that the vector was made from. */
  async #isOfAnother({ id, metadata }: Fields): Promise<boolean> {
    const message = await this.documents.first("mastra_messages", byRecordId(id));
    const created = isObject(metadata) ? metadata["created_at"] : undefined;
    if (message === null || created === undefined || created === null) return false;
    return created !== message.createdAt;
  }
}

type CacheRow = Doc<typeof KEYS>;

class Cache extends Rows<typeof KEYS> {
  #itemsRemoved = 0;

  override get isFull(): boolean {
    return super.isFull || this.#itemsRemoved >= ITEMS_MAX;
  }

  override async restore(fields: Fields, notes: Notes): Promise<Outcome | undefined> {
    if (isDead(fields as unknown as CacheRow)) return "dropped";
    const found = await this.find(fields);
    if (found !== null && !isDead(found)) return await super.restore(fields, notes);
    this.check(fields);
    // Items that are left of what was there must not become those of the new row.
    if (this.policy.dryRun) return "stored";
    if (!(await this.#makeRoom(fields, 0))) return undefined;
    if (found === null) await this.store(fields, notes);
    else await super.replace(found, fields, notes);
    return "stored";
  }

  protected override async replace(
    found: CacheRow & StoredRow,
    fields: Fields,
    notes: Notes,
  ): Promise<Outcome | undefined> {
    const length = fields["kind"] === "list" ? numberIn(fields, "counter") : 0;
    if (!(await this.#makeRoom(fields, length))) {
      // Nobody sees half a list: until the rest is gone there is none.
      await this.patch(found, { kind: "deleted", expiresAt: 0 });
      return undefined;
    }
    return await super.replace(found, fields, notes);
  }

  /** Remove items from a position on, some at a time; say whether all of them are gone. */
  async #makeRoom(fields: Fields, length: number): Promise<boolean> {
    const range = { ...itemsOf(textIn(fields, "key")), gte: length };
    const { rows: items, hasMore } = await this.documents.some(ITEMS, range, ITEMS_MAX);
    for (const item of items) await this.documents.delete(ITEMS, item);
    this.#itemsRemoved += items.length;
    return !hasMore;
  }
}

class CacheItems extends Rows<typeof ITEMS> {
  readonly #lengths = new Map<string, Promise<number | undefined>>();

  override async restore(fields: Fields, notes: Notes): Promise<Outcome | undefined> {
    this.keyOf(fields);
    const key = textIn(fields, "key");
    const known = this.#lengths.get(key) ?? listLength(this.documents, key);
    this.#lengths.set(key, known);
    const length = await known;
    if (length === undefined || numberIn(fields, "index") >= length) {
      // An item beyond its list would come back as one of the next that are pushed.
      const { dryRun, replace } = this.policy;
      return dryRun && (length === undefined || replace) ? "stored" : "dropped";
    }
    return await super.restore(fields, notes);
  }
}

interface NativeReader {
  query(table: string): {
    withIndex(
      name: string,
      range: (q: { eq(field: string, value: Value): unknown }) => unknown,
    ): { first(): Promise<StoredRow | null> };
  };
}

/** The rows of a vector table of the app's own. */
class NativeRows extends Target {
  constructor(
    documents: FollowedDocuments,
    policy: Policy,
    private readonly native: NativeTable,
    private readonly database: DatabaseWriter,
  ) {
    super(documents, policy);
  }

  protected async find(fields: Fields): Promise<StoredRow | null> {
    const { name, idField, idIndex, dimension, vectorField } = this.native;
    const id = fields[idField];
    if (typeof id !== "string") throw invalidArgument(`A row of ${name} needs text in ${idField}.`);
    const vector = fields[vectorField];
    if (!isFiniteVector(vector)) {
      throw invalidArgument(`A row of ${name} needs an array of finite numbers in ${vectorField}.`);
    }
    if (vector.length !== dimension) throw mismatch(name, dimension, vector.length);
    this.documents.countLookup();
    const row = await (this.database as unknown as NativeReader)
      .query(name)
      .withIndex(idIndex, (q) => q.eq(idField, id))
      .first();
    if (row !== null) this.documents.countRow(row);
    return row;
  }

  protected check(fields: Fields): void {
    // The schema has it, though not the type of our own tables.
    const table = this.native.name as MemoryTable;
    const { kind } = schema.tables[table].validator as { kind: string };
    if (kind === "object") checkRow(table, fields);
    else check(fields, table);
  }

  protected async insert(fields: Fields): Promise<void> {
    await this.#writer.insert(this.native.name, fields);
  }

  protected async patch(found: StoredRow, changes: UncheckedObject): Promise<void> {
    await this.#writer.patch(this.native.name, found._id, changes);
  }

  get #writer(): DynamicWriter {
    return this.database as unknown as DynamicWriter;
  }
}

/**
 * Where the rows of a table go.
 *
 * @param documents The mutation's rows.
 * @param name The table.
 * @param native What is said of a native vector table where the rows come from.
 * @param policy How rows are stored.
 * @param database The mutation's database, for tables that are not ours.
 * @throws `not_found` when there is no such table; `invalid_argument` and `dimension_mismatch` when
 *   the native vector table here is another.
 */
export function targetNamed(
  documents: FollowedDocuments,
  name: string,
  native: NativeArgument | null | undefined,
  policy: Policy,
  database: DatabaseWriter,
): Target {
  if (isMoved(name)) return rowsOf(documents, policy, name) as unknown as Target;
  const table = nativeTableNamed(name);
  if (native !== undefined && native !== null) refuseOther(table, native);
  return new NativeRows(documents, policy, table, database);
}

function rowsOf(documents: FollowedDocuments, policy: Policy, table: MovedTable) {
  switch (table) {
    case "mastra_threads":
      return new Threads(documents, policy, table);
    case "mastra_messages":
      return new Messages(documents, policy, table);
    case "mastra_vectors":
      return new Vectors(documents, policy, table);
    case "mastra_vector_indexes":
      return new VectorIndexes(documents, policy, table);
    case KEYS:
      return new Cache(documents, policy, table);
    case ITEMS:
      return new CacheItems(documents, policy, table);
    default:
      return new Rows(documents, policy, table);
  }
}

function refuseOther(table: NativeTable, { dimension, idField, vectorField }: NativeArgument) {
  if (table.dimension !== dimension) throw mismatch(table.name, table.dimension, dimension);
  if (table.idField === idField && table.vectorField === vectorField) return;
  throw invalidArgument(
    `Table ${table.name} holds its ids in ${table.idField} and its vectors in ` +
      `${table.vectorField}, not in ${idField} and ${vectorField}.`,
  );
}

function mismatch(table: string, dimension: number, received: number) {
  return dimensionMismatch(
    `Expected a vector with dimensions ${dimension}, received ${received} (table ${table}).`,
    dimension,
    received,
  );
}
