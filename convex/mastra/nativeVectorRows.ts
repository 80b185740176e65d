/** Rows of a table that a native-vector config names: its fields are known at run time only. */
import type { DatabaseReader, DatabaseWriter } from "../_generated/server";
import { getDocumentSize, type Value } from "convex/values";
import type { DynamicWriter } from "../lib/documents";
import { limitExceeded } from "../lib/errors";
import {
  DOCUMENT_BYTES_MAX,
  LOOKUPS_MAX,
  READ_BYTES_MAX,
  WRITTEN_BYTES_MAX,
} from "../lib/limits";
import { check, isObject, present, type UncheckedObject } from "../lib/values";

/** A row of the table, as it is stored. */
export type VectorRow = Record<string, Value> & { _id: string };

/** Which table and fields a call is about. */
export interface VectorConfig {
  readonly tableName: string;
  readonly idField?: string;
  readonly idIndexName?: string;
  readonly vectorField?: string;
  readonly metadataField?: string;
  readonly filterFields?: readonly string[];
}

/** Searching a table whose name is known at run time only. */
export interface DynamicVectorSearch {
  vectorSearch(
    table: string,
    index: string,
    query: {
      vector: number[];
      limit: number;
      filter?: (q: DynamicFilter) => unknown;
    },
  ): Promise<{ _id: string; _score: number }[]>;
}
interface DynamicFilter {
  eq(field: string, value: Value): unknown;
  or(...conditions: unknown[]): unknown;
}

interface DynamicReader {
  normalizeId(table: string, id: string): string | null;
  get(table: string, id: string): Promise<VectorRow | null>;
  query(table: string): AsyncIterable<VectorRow> & {
    withIndex(
      name: string,
      range: (q: { eq(field: string, value: Value): unknown }) => unknown,
    ): { first(): Promise<VectorRow | null> };
  };
}

/** One table's rows within one call, of which it counts what it reads and writes. */
export class VectorRows {
  /** The table's name. */
  readonly table: string;
  readonly #idField: string;
  readonly #idIndexName: string;
  readonly #vectorField: string;
  readonly #metadataField: string;
  readonly #filterFields: readonly string[];
  readonly #reader: DynamicReader;
  readonly #writer: DynamicWriter | undefined;
  #lookups = 0;
  #bytesRead = 0;
  #bytesWritten = 0;

  constructor(config: VectorConfig, reader: DatabaseReader, writer?: DatabaseWriter) {
    this.table = config.tableName;
    this.#idField = config.idField ?? "id";
    this.#idIndexName = config.idIndexName ?? "by_record_id";
    this.#vectorField = config.vectorField ?? "embedding";
    this.#metadataField = config.metadataField ?? "metadata";
    this.#filterFields = config.filterFields ?? [];
    this.#reader = reader as unknown as DynamicReader;
    this.#writer = writer as unknown as DynamicWriter | undefined;
  }

  /** The row with a record id, or null. */
  async find(id: string): Promise<VectorRow | null> {
    this.#countLookup();
    const row = await this.#reader
      .query(this.table)
      .withIndex(this.#idIndexName, (q) => q.eq(this.#idField, id))
      .first();
    return this.#counted(row);
  }

  /** The row with a Convex `_id`, or null; so is what is no id of this table. */
  async get(convexId: string): Promise<VectorRow | null> {
    const id = this.#reader.normalizeId(this.table, convexId);
    if (id === null) return null;
    this.#countLookup();
    return this.#counted(await this.#reader.get(this.table, id));
  }

  /** Count rows until there is one more than `limit`, or one call can read no more. */
  async count(limit: number): Promise<{ count: number; isWhole: boolean }> {
    let count = 0;
    for await (const row of this.#reader.query(this.table)) {
      count += 1;
      this.#bytesRead += getDocumentSize(row);
      if (count > limit) return { count, isWhole: true };
      if (this.#bytesRead > READ_BYTES_MAX - DOCUMENT_BYTES_MAX) return { count, isWhole: false };
    }
    return { count, isWhole: true };
  }

  /** A row as readers get it who did not ask for the vector. */
  withoutVector(row: VectorRow): UncheckedObject {
    const { [this.#vectorField]: _vector, ...rest } = row;
    return rest;
  }

  /**
   * Store a vector under its id, in the row there is or a new one.
   *
   * With metadata, that and the filter fields taken from it replace those of the row there is;
   * without, they stay.
   */
  async put(
    id: string,
    row: VectorRow | null,
    vector: number[],
    metadata?: UncheckedObject,
  ): Promise<void> {
    const fields = {
      [this.#idField]: id,
      [this.#vectorField]: vector,
      ...(metadata === undefined ? {} : this.#metadataFields(metadata)),
    };
    await this.#store(row, fields);
  }

  /** Change a row's vector, merge its metadata at the top level, or both. */
  async change(row: VectorRow, vector?: number[], metadata?: UncheckedObject): Promise<void> {
    const changes: Record<string, unknown> = {};
    if (vector !== undefined) changes[this.#vectorField] = vector;
    if (metadata !== undefined) {
      const stored = row[this.#metadataField];
      const merged = { ...(isObject(stored) ? stored : {}), ...metadata };
      Object.assign(changes, present(this.#metadataFields(merged)));
    }
    await this.#store(row, changes);
  }

  /** Remove a row. */
  async remove(row: VectorRow): Promise<void> {
    await this.#writable().delete(this.table, row._id);
  }

  /** Metadata and the copies of its filter fields; one it does not have is `undefined`. */
  #metadataFields(metadata: UncheckedObject): Record<string, unknown> {
    const copies = this.#filterFields.map((name) => [name, metadata[name]] as const);
    return { ...Object.fromEntries(copies), [this.#metadataField]: metadata };
  }

  async #store(row: VectorRow | null, fields: UncheckedObject): Promise<void> {
    this.#bytesWritten += check({ ...row, ...fields }, this.table);
    if (this.#bytesWritten > WRITTEN_BYTES_MAX) {
      throw limitExceeded(
        `This call would write more than ${WRITTEN_BYTES_MAX >> 20} MiB of vectors, which is as ` +
          "much as one transaction may. Send them in several calls.",
      );
    }
    if (row === null) await this.#writable().insert(this.table, present(fields));
    else await this.#writable().patch(this.table, row._id, fields);
  }

  #writable(): DynamicWriter {
    if (this.#writer === undefined) throw new Error("These rows are only read.");
    return this.#writer;
  }

  #countLookup(): void {
    this.#lookups += 1;
    if (this.#lookups > LOOKUPS_MAX) {
      throw limitExceeded(
        `One call looks up at most ${LOOKUPS_MAX.toLocaleString("en-US")} vectors. Send fewer ids.`,
      );
    }
  }

  #counted(row: VectorRow | null): VectorRow | null {
    if (row !== null) this.#bytesRead += getDocumentSize(row);
    if (this.#bytesRead > READ_BYTES_MAX) {
      throw limitExceeded(
        `These vectors are more than ${READ_BYTES_MAX >> 20} MiB, which is as much as one ` +
          "transaction may read. Send fewer ids.",
      );
    }
    return row;
  }
}
