/**
 * The vector tables that this deployment's schema declares, the app's own among them.
 *
 * Convex answers a search of an unknown table with nothing, and stores a vector of another length
 * without ever finding it. Knowing the schema, both can be refused.
 */
import schema from "../schema";
import { invalidArgument, notFound } from "./errors";
import { memoryTables } from "./tables";

/** One vector index of the schema. */
export interface VectorIndex {
  readonly name: string;
  readonly vectorField: string;
  readonly dimensions: number;
  readonly filterFields: readonly string[];
}

/** What `schema.export()` says of a table: the description that deploying sends to Convex. */
interface ExportedTable {
  readonly tableName: string;
  readonly vectorIndexes: readonly (Omit<VectorIndex, "name"> & { indexDescriptor: string })[];
}

const NATIVE_TABLE = /^memory_vectors_(\d+)$/;

let declared: ReadonlyMap<string, readonly VectorIndex[]> | undefined;

/** The vector indexes of each table that has any. */
function vectorTables(): ReadonlyMap<string, readonly VectorIndex[]> {
  if (declared === undefined) {
    const { export: exported } = schema as unknown as { export: () => string };
    const { tables } = JSON.parse(exported.call(schema)) as { tables: ExportedTable[] };
    declared = new Map(
      tables
        .filter(({ vectorIndexes }) => vectorIndexes.length > 0)
        .map(({ tableName, vectorIndexes }) => [
          tableName,
          vectorIndexes.map(({ indexDescriptor: name, ...rest }) => ({ name, ...rest })),
        ]),
    );
  }
  return declared;
}

/** The dimensions for which this deployment has a native vector table, ascending. */
export function nativeDimensions(): number[] {
  const names = [...vectorTables().keys()];
  const found = names.map((name) => NATIVE_TABLE.exec(name)?.[1]).filter((text) => text);
  return found.map(Number).sort((a, b) => a - b);
}

/**
 * The vector index of a table that somebody named.
 *
 * @param table The table's name.
 * @param index The index's name.
 * @throws `invalid_argument` for a table of Convex Memory's own, `not_found` for one that the
 *   schema does not declare with this index; both list those there are.
 */
export function vectorIndexOf(table: string, index: string): VectorIndex {
  if (isOwn(table)) {
    throw invalidArgument(
      `${table} is not a native vector table; choose another tableName. ${choices()}`,
    );
  }
  const indexes = vectorTables().get(table);
  if (indexes === undefined) {
    throw notFound(`The schema declares no vector table ${table}. ${choices()}`);
  }
  const found = indexes.find(({ name }) => name === index);
  if (found === undefined) {
    const names = indexes.map(({ name }) => name).join(", ");
    throw notFound(`Table ${table} has no vector index ${index}; it has ${names}.`);
  }
  return found;
}

function choices(): string {
  const tables = [...vectorTables().entries()].filter(([table]) => !isOwn(table));
  const there = tables.flatMap(([table, indexes]) =>
    indexes.map(({ name, dimensions }) => `${table}.${name} (${dimensions} dimensions)`),
  );
  const add = "Declare another one in schema.ts with defineTable(…).vectorIndex(…) and deploy.";
  return there.length > 0
    ? `The native vector tables are ${there.join(", ")}. ${add}`
    : `There are no native vector tables yet. ${add}`;
}

function isOwn(table: string): boolean {
  return Object.hasOwn(memoryTables, table) || NATIVE_TABLE.test(table);
}
