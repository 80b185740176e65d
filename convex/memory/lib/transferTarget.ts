/** Where the rows of one table go that move in: known by their keys. */
import type { Value } from "convex/values";
import type { Doc } from "../../_generated/dataModel";
import { type StoredRow, withoutSystemFields } from "../../lib/documents";
import { invalidArgument } from "../../lib/errors";
import { checkRow } from "../../lib/rowCheck";
import type { UncheckedObject } from "../../lib/values";
import type { FollowedDocuments } from "./followed";
import { type Notes, notesOf } from "./transferNotes";
import type { MovedTable } from "./transferTables";
import { type Fields, same } from "./transferText";

/** What became of a row; `dropped` is what is dead already, an expired value for instance. */
export type Outcome = "stored" | "replaced" | "unchanged" | "kept" | "dropped";

/** What to do with rows that are there already, and whether to do anything at all. */
export type Policy = { readonly replace: boolean; readonly dryRun: boolean };

/** The fields by which a row is known and the index over them, where that is not its `id`. */
const KEYS_OF: Partial<Record<MovedTable, { index: string; fields: readonly string[] }>> = {
  mastra_workflow_snapshots: { index: "by_workflow_run", fields: ["workflow_name", "run_id"] },
  mastra_vectors: { index: "by_index_id", fields: ["indexName", "id"] },
  mastra_documents: { index: "by_table_primary", fields: ["table", "primaryKey"] },
  mastra_cache: { index: "by_key", fields: ["key"] },
  mastra_cache_list_items: { index: "by_key_index", fields: ["key", "index"] },
};
const RECORD_ID = { index: "by_record_id", fields: ["id"] };

/** Where the rows of one table go, within one call. */
export abstract class Target<Row extends StoredRow = StoredRow> {
  constructor(
    protected readonly documents: FollowedDocuments,
    protected readonly policy: Policy,
  ) {}

  /** Whether the call has done as much as one transaction should. */
  get isFull(): boolean {
    return this.documents.isHalfDone;
  }

  /**
   * Store one row with what is noted of it; undefined when it has to wait for another call.
   *
   * @throws `invalid_argument` when it breaks the table's declaration, `limit_exceeded` when it is
   *   too large, `conflict` when it contradicts the one there in what holds other rows together.
   */
  async restore(fields: Fields, notes: Notes): Promise<Outcome | undefined> {
    const found = await this.find(fields);
    if (found === null) {
      this.check(fields);
      if (!this.policy.dryRun) await this.store(fields, notes);
      return "stored";
    }
    this.refuse(found, fields);
    const isSame = same(withoutSystemFields(found), fields);
    if (isSame && (await this.hasNotes(found, notes))) return "unchanged";
    if (!this.policy.replace) return "kept";
    this.check(fields);
    return this.policy.dryRun ? "replaced" : await this.replace(found, fields, notes);
  }

  /** The row with the same key, or null. */
  protected abstract find(fields: Fields): Promise<Row | null>;
  /** Check a row against its declaration. */
  protected abstract check(fields: Fields): void;
  protected abstract insert(fields: Fields): Promise<void>;
  /** Replace fields of a row; those that are `undefined` are removed. */
  protected abstract patch(found: Row, changes: UncheckedObject): Promise<void>;

  /** Refuse where neither of the two rows can be had without harm. */
  protected refuse(_found: Row, _fields: Fields): void {
    // Most rows stand for themselves.
  }

  /** Whether exactly this is noted of the row there. */
  protected async hasNotes(_found: Row, _notes: Notes): Promise<boolean> {
    return true;
  }

  /** Add a row whose key is new. */
  protected async store(fields: Fields, _notes: Notes): Promise<void> {
    await this.insert(fields);
  }

  /** Make the row there what the new one is. */
  protected async replace(
    found: Row,
    fields: Fields,
    _notes: Notes,
  ): Promise<Outcome | undefined> {
    const names = Object.keys(withoutSystemFields(found));
    const gone = Object.fromEntries(names.map((name) => [name, undefined]));
    await this.patch(found, { ...gone, ...fields });
    return "replaced";
  }
}

/** The rows of a table of the protocol. */
export class Rows<Table extends MovedTable> extends Target<Doc<Table> & StoredRow> {
  constructor(
    documents: FollowedDocuments,
    policy: Policy,
    protected readonly table: Table,
  ) {
    super(documents, policy);
  }

  /** What of a row says which it is. */
  protected keyOf(fields: Fields): Value[] {
    const { fields: names } = KEYS_OF[this.table] ?? RECORD_ID;
    return names.map((name) => {
      const value = fields[name];
      if (value === undefined) {
        throw invalidArgument(`A row of ${this.table} needs the field ${name}.`);
      }
      return value;
    });
  }

  protected async find(fields: Fields) {
    const { index } = KEYS_OF[this.table] ?? RECORD_ID;
    const range = { index, equals: this.keyOf(fields) };
    const row = await this.documents.first(this.table, range);
    if (row === null || !(await this.documents.isGone(this.table, row))) {
      return row as (Doc<Table> & StoredRow) | null;
    }
    // Its thread or index is gone, and it only waits to be.
    if (!this.policy.dryRun) await this.takeAway(row);
    return null;
  }

  /** Do to a row that waits to be removed what is to be done with it. */
  protected async takeAway(row: Doc<Table>): Promise<void> {
    await this.documents.delete(this.table, row);
  }

  protected check(fields: Fields): void {
    checkRow(this.table, fields);
  }

  protected override async hasNotes(
    found: Doc<Table> & StoredRow,
    notes: Notes,
  ): Promise<boolean> {
    const { threadExpiresAt: _ofThread, ...there } = await notesOf(
      this.documents,
      this.table,
      found,
    );
    const { threadExpiresAt: _of, ...own } = notes;
    return same(there, own);
  }

  protected async insert(fields: Fields): Promise<void> {
    await this.documents.insert(this.table, fields);
  }

  protected async patch(found: Doc<Table> & StoredRow, changes: UncheckedObject): Promise<void> {
    await this.documents.patch(this.table, found, changes);
  }
}

/** A number of a row; 0 when it is absent, or no number. */
export function numberIn(fields: Fields, name: string): number {
  const value = fields[name];
  return typeof value === "number" ? value : 0;
}

/** A text of a row; empty when it is absent, or no text. */
export function textIn(fields: Fields, name: string): string {
  const value = fields[name];
  return typeof value === "string" ? value : "";
}
