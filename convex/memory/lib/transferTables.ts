/** The tables whose rows move: those of the protocol, and the app's own vector tables. */
import schema from "../../schema";
import { notFound } from "../../lib/errors";
import { quoted } from "../../lib/quoted";
import { memoryTables, type MemoryTable } from "../../lib/tables";

/** A table with rows that callers stored, under a name of the protocol. */
export type MovedTable = Extract<MemoryTable, `mastra_${string}`>;

/** A vector table of the app's own. */
export interface NativeTable {
  readonly name: string;
  readonly dimension: number;
  /** The field by which a row is known, and the index over it alone. */
  readonly idField: string;
  readonly idIndex: string;
  readonly vectorField: string;
}

interface ExportedTable {
  readonly tableName: string;
  readonly indexes: readonly { indexDescriptor: string; fields: readonly string[] }[];
  readonly vectorIndexes: readonly { vectorField: string; dimensions: number }[];
}

const RECORD_ID = "by_record_id";

/** The tables of the protocol, in the order of their declaration. */
export const MOVED_TABLES = Object.keys(memoryTables).filter(isMoved);

/** Whether a table's rows move under its name. What is derived from rows does not. */
export function isMoved(name: string): name is MovedTable {
  return name.startsWith("mastra_") && Object.hasOwn(memoryTables, name);
}

/** A vector table that cannot move. */
export type LeftOut = { readonly table: string; readonly why: string };

/** The vector tables that the app has declared, and those of them whose rows have no key. */
export function nativeTables(): { tables: NativeTable[]; leftOut: LeftOut[] } {
  const { export: exported } = schema as unknown as { export: () => string };
  const declared = JSON.parse(exported.call(schema)) as { tables: ExportedTable[] };
  const tables: NativeTable[] = [];
  const leftOut: LeftOut[] = [];
  for (const { tableName: name, indexes, vectorIndexes } of declared.tables) {
    const [vector] = vectorIndexes;
    if (vector === undefined || isOurs(name)) continue;
    const single = indexes.filter(({ fields }) => fields.length === 1);
    const index = single.find((each) => each.indexDescriptor === RECORD_ID) ?? single[0];
    const [idField] = index?.fields ?? [];
    if (index === undefined || idField === undefined) {
      const why = `its rows have no key; give it an index ${RECORD_ID} over the field of their ids`;
      leftOut.push({ table: name, why });
      continue;
    }
    const { vectorField, dimensions: dimension } = vector;
    tables.push({ name, dimension, idField, idIndex: index.indexDescriptor, vectorField });
  }
  return { tables, leftOut };
}

/** Each of our own tables, also those of dimensions that the app has added. */
function isOurs(name: string): boolean {
  return Object.hasOwn(memoryTables, name) || /^memory_vectors_\d+$/.test(name);
}

/**
 * A vector table of the app's own.
 *
 * @throws `not_found` when the schema declares none with this name.
 */
export function nativeTableNamed(name: string): NativeTable {
  const { tables } = nativeTables();
  const found = tables.find((table) => table.name === name);
  if (found !== undefined) return found;
  const names = [...MOVED_TABLES, ...tables.map((table) => table.name)].join(", ");
  throw notFound(
    `There is no table ${quoted(name)} here; there are ${names}. A vector table has to be ` +
      "declared in schema.ts, with an index by_record_id over the field of its ids; deploy then.",
  );
}
