/**
 * The tables of Convex Memory, inside one function call.
 *
 * Every read and write of rows goes through here, so that each is bounded: a call that would pass
 * what Convex lets one transaction read or write ends with a refusal that says so, and changes
 * nothing. Writes check the row, and keep the change feed in step.
 */
import type { Doc, Id } from "../_generated/dataModel";
import type { DatabaseReader, DatabaseWriter } from "../_generated/server";
import { getDocumentSize, type Value } from "convex/values";
import { isFollowed, noteChange } from "./changes";
import { invalidArgument, limitExceeded } from "./errors";
import {
  LOOKUPS_MAX,
  READ_BYTES_MAX,
  READ_ROWS_MAX,
  WRITTEN_BYTES_MAX,
  WRITTEN_ROWS_MAX,
} from "./limits";
import { checkRow, indexesOf } from "./rowCheck";
import type { MemoryTable } from "./tables";
import { present, type UncheckedObject } from "./values";

/** A stored row of any table, with `_id` and `_creationTime`. */
export type StoredRow = Record<string, Value> & { _id: string; _creationTime: number };

/** Which rows of an index to read. */
export interface Range {
  /** The index; the table in creation order when absent. */
  readonly index?: string;
  /** What the first fields of the index must equal. */
  readonly equals?: readonly Value[];
  /** Bounds on the next field of the index (`_creationTime` after the declared ones). */
  readonly gte?: Value;
  readonly gt?: Value;
  readonly lte?: Value;
  readonly lt?: Value;
  /** Whether to read from the end. */
  readonly descending?: boolean;
}

/** The row with a record id. An id that is absent finds nothing: no row has the id null. */
export function byRecordId(id: unknown): Range {
  return { index: "by_record_id", equals: [(id ?? null) as Value] };
}

const BOUNDS = ["gte", "gt", "lte", "lt"] as const;
/** Bytes of rows that are read to be removed together. */
const SOME_BYTES_MAX = READ_BYTES_MAX / 4;

/** A query whose table and index are known at run time only. */
interface DynamicRange {
  eq(field: string, value: Value): DynamicRange;
  gte(field: string, value: Value): DynamicRange;
  gt(field: string, value: Value): DynamicRange;
  lte(field: string, value: Value): DynamicRange;
  lt(field: string, value: Value): DynamicRange;
}
interface DynamicReader {
  get(table: string, id: string): Promise<StoredRow | null>;
}
interface DynamicQuery {
  withIndex(
    name: string,
    range: (q: DynamicRange) => DynamicRange,
  ): { order(order: "asc" | "desc"): AsyncIterable<StoredRow> };
}
/** Writing, where the table is known at run time only. */
export interface DynamicWriter {
  insert(table: string, row: UncheckedObject): Promise<string>;
  patch(table: string, id: string, changes: UncheckedObject): Promise<void>;
  delete(table: string, id: string): Promise<void>;
}

/** Reading. One object serves one function call: it counts what the call has read. */
export class Documents {
  #lookups = 0;
  #rows = 0;
  #bytes = 0;
  readonly #remembered = new Map<string, Promise<unknown>>();

  constructor(protected readonly reader: DatabaseReader) {}

  /** The row with an `_id`, or null. */
  async get<Table extends MemoryTable>(table: Table, id: Id<Table>): Promise<Doc<Table> | null> {
    this.countLookup();
    const row = await (this.reader as unknown as DynamicReader).get(table, id);
    if (row !== null) this.countRow(row);
    return row as unknown as Doc<Table> | null;
  }

  /** The first row of a range, or null. */
  async first<Table extends MemoryTable>(table: Table, range: Range): Promise<Doc<Table> | null> {
    for await (const row of this.scan(table, range)) return row;
    return null;
  }

  /** The first rows of a range, at most `limit`. */
  async take<Table extends MemoryTable>(
    table: Table,
    range: Range,
    limit: number,
  ): Promise<Doc<Table>[]> {
    const rows: Doc<Table>[] = [];
    if (limit <= 0) return rows;
    for await (const row of this.scan(table, range)) {
      rows.push(row);
      if (rows.length >= limit) break;
    }
    return rows;
  }

  /**
   * The first rows of a range: as many as may be removed together, whatever else the call does.
   *
   * @returns Them, at least one if there are any, and whether there are more.
   */
  async some<Table extends MemoryTable>(
    table: Table,
    range: Range,
    limit: number,
  ): Promise<{ rows: Doc<Table>[]; hasMore: boolean }> {
    const start = this.#bytes;
    const rows: Doc<Table>[] = [];
    for await (const row of this.scan(table, range)) {
      const isFull = rows.length >= limit || this.#bytes - start > SOME_BYTES_MAX;
      if (isFull) return { rows, hasMore: true };
      rows.push(row);
    }
    return { rows, hasMore: false };
  }

  /**
   * The rows of a range, in the order of its index, then of creation.
   *
   * @throws `limit_exceeded` when the call has read as much as one transaction may.
   */
  async *scan<Table extends MemoryTable>(table: Table, range: Range): AsyncGenerator<Doc<Table>> {
    const { index = "by_creation_time", equals = [], descending = false } = range;
    const declared = index === "by_creation_time" ? [] : indexesOf(table).get(index);
    if (declared === undefined) throw invalidArgument(`${table} has no index ${index}.`);
    const fields = [...declared, "_creationTime"];
    this.countLookup();
    const rows = (this.reader.query(table) as unknown as DynamicQuery)
      .withIndex(index, (q) => {
        let narrowed = equals.reduce<DynamicRange>((so, value, at) => so.eq(fields[at]!, value), q);
        for (const bound of BOUNDS) {
          const value = range[bound];
          if (value !== undefined) narrowed = narrowed[bound](fields[equals.length]!, value);
        }
        return narrowed;
      })
      .order(descending ? "desc" : "asc");
    for await (const row of rows) {
      this.countRow(row);
      yield row as unknown as Doc<Table>;
    }
  }

  /** Count one look-up of a row or range that was not made through this object. */
  countLookup(): void {
    this.#lookups += 1;
    if (this.#lookups > LOOKUPS_MAX) {
      throw limitExceeded(
        `This call would look up more than ${LOOKUPS_MAX.toLocaleString("en-US")} rows one by ` +
          "one, which is as many as one transaction may. Do it in several calls.",
      );
    }
  }

  /** Count one row read that was not read through this object. */
  countRow(row: UncheckedObject): void {
    this.#rows += 1;
    this.#bytes += getDocumentSize(row as Record<string, Value>);
    if (this.#rows > READ_ROWS_MAX || this.#bytes > READ_BYTES_MAX) {
      throw limitExceeded(
        `This call would read more than ${READ_ROWS_MAX.toLocaleString("en-US")} rows or ` +
          `${READ_BYTES_MAX >> 20} MiB, which is as much as one transaction may. Ask for fewer ` +
          "rows, or read them in pages.",
      );
    }
  }

  /** Bytes of the rows read so far. */
  get bytesRead(): number {
    return this.#bytes;
  }

  /** What `ask` answers, asked once in a call under this key. */
  async remembered<Answer>(key: string, ask: () => Promise<Answer>): Promise<Answer> {
    const known = (this.#remembered.get(key) as Promise<Answer> | undefined) ?? ask();
    this.#remembered.set(key, known);
    return await known;
  }

  /** Ask anew what is remembered under a key, or under any: the call has changed it. */
  forget(key?: string): void {
    if (key === undefined) this.#remembered.clear();
    else this.#remembered.delete(key);
  }

  /** Look-ups made so far. */
  get lookups(): number {
    return this.#lookups;
  }
}

/** Reading and writing. */
export class WritableDocuments extends Documents {
  #rowsWritten = 0;
  #bytesWritten = 0;
  readonly #writer: DynamicWriter;

  constructor(protected readonly database: DatabaseWriter) {
    super(database);
    this.#writer = database as unknown as DynamicWriter;
  }

  /**
   * Add a row; fields that are `undefined` are absent.
   *
   * @throws `invalid_argument` when it breaks the table's declaration, `limit_exceeded` when it or
   *   what the call writes is too large.
   */
  async insert<Table extends MemoryTable>(table: Table, row: UncheckedObject): Promise<Id<Table>> {
    this.#countWrite(table, checkRow(table, row));
    const id = (await this.#writer.insert(table, row)) as Id<Table>;
    await noteChange(this.database, table, "insert", row);
    return id;
  }

  /**
   * Replace the fields named in `changes`; a field that is `undefined` there is removed.
   *
   * `_id` and `_creationTime` are accepted when they equal the stored ones.
   *
   * @returns The row as it is afterwards.
   * @throws As `insert`; and `invalid_argument` when a system field would change.
   */
  async patch<Table extends MemoryTable>(
    table: Table,
    row: Doc<Table>,
    changes: UncheckedObject,
  ): Promise<Doc<Table>> {
    const before = row as unknown as StoredRow;
    const { _id, _creationTime, ...given } = changes;
    if (
      (_id !== undefined && _id !== before._id) ||
      (_creationTime !== undefined && _creationTime !== before._creationTime)
    ) {
      throw invalidArgument(`_id and _creationTime of a row of ${table} cannot be changed.`);
    }
    const after = present({ ...before, ...given });
    this.#countWrite(table, checkRow(table, withoutSystemFields(after)));
    await this.#writer.patch(table, before._id, given);
    const changed = after as unknown as Doc<Table>;
    await noteChange(this.database, table, "update", after, before);
    return changed;
  }

  /** Remove a row. */
  async delete<Table extends MemoryTable>(table: Table, row: Doc<Table>): Promise<void> {
    this.#countWrite(table, 0);
    await this.#writer.delete(table, row._id);
    await noteChange(this.database, table, "delete", row);
  }

  /** Whether the call has done half of what one transaction may: what can wait should. */
  get isHalfDone(): boolean {
    return (
      this.lookups > LOOKUPS_MAX / 2 ||
      this.bytesRead > READ_BYTES_MAX / 2 ||
      this.#rowsWritten > WRITTEN_ROWS_MAX / 2 ||
      this.#bytesWritten > WRITTEN_BYTES_MAX / 2
    );
  }

  /** Patch `found` with the row's fields, or insert the row when there is none. */
  async upsert<Table extends MemoryTable>(
    table: Table,
    row: UncheckedObject,
    found: Doc<Table> | null,
  ): Promise<void> {
    if (found === null) await this.insert(table, row);
    else await this.patch(table, found, row);
  }

  #countWrite(table: MemoryTable, bytes: number): void {
    // Everything that is followed has a row in the change feed.
    this.#rowsWritten += 1 + (isFollowed(table) ? 1 : 0);
    this.#bytesWritten += bytes;
    if (this.#rowsWritten > WRITTEN_ROWS_MAX || this.#bytesWritten > WRITTEN_BYTES_MAX) {
      throw limitExceeded(
        `This call would write more than ${WRITTEN_ROWS_MAX.toLocaleString("en-US")} rows or ` +
          `${WRITTEN_BYTES_MAX >> 20} MiB, which is as much as one transaction may. Write them ` +
          "in several calls.",
      );
    }
  }
}

/** A row without `_id` and `_creationTime`. */
export function withoutSystemFields<Row extends UncheckedObject>(
  row: Row,
): Omit<Row, "_id" | "_creationTime"> {
  const { _id, _creationTime, ...fields } = row;
  return fields;
}
