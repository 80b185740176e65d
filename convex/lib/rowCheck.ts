/**
 * Rows held against the declaration of their table before Convex does it.
 *
 * Convex refuses a row that breaks its schema too, but with an error that a production deployment
 * does not show. Here the refusal has a code and names the field.
 */
import { CommitTsPlaceholder } from "convex/values";
import schema from "../schema";
import { invalidArgument, limitExceeded } from "./errors";
import { DOCUMENT_BYTES_MAX } from "./limits";
import type { MemoryTable } from "./tables";
import { check, type UncheckedObject } from "./values";

/** What of a validator is looked at. */
interface FieldValidator {
  readonly kind: string;
  readonly isOptional: "optional" | "required";
  readonly members?: readonly FieldValidator[];
  readonly element?: FieldValidator;
  readonly value?: unknown;
}

/** The declared fields of a table, by name. */
export function fieldsOf(table: MemoryTable): Readonly<Record<string, FieldValidator>> {
  return schema.tables[table].validator.fields;
}

/** The indexes of a table, by name, in the order of their declaration. */
export function indexesOf(table: MemoryTable): ReadonlyMap<string, readonly string[]> {
  const declared = schema.tables[table][" indexes"]();
  return new Map(declared.map(({ indexDescriptor, fields }) => [indexDescriptor, fields]));
}

/**
 * Check a whole row, without system fields.
 *
 * @param table The table it is for.
 * @param row Its fields; those that are `undefined` are absent.
 * @returns Its size in bytes.
 * @throws `invalid_argument` when it breaks the table's declaration, `limit_exceeded` when it is
 *   larger or deeper than a document may be.
 */
export function checkRow(table: MemoryTable, row: UncheckedObject): number {
  const fields = fieldsOf(table);
  for (const [name, validator] of Object.entries(fields)) {
    const value = row[name];
    if (value === undefined) {
      if (validator.isOptional === "optional") continue;
      throw invalidArgument(`A row of ${table} needs the field ${name} (${wanted(validator)}).`);
    }
    if (!fits(validator, value)) {
      throw invalidArgument(
        `Field ${name} of ${table} must be ${wanted(validator)}, not ${kindOf(value)}.`,
      );
    }
  }
  const extra = Object.keys(row).find((name) => row[name] !== undefined && !(name in fields));
  if (extra !== undefined) {
    throw invalidArgument(
      `A row of ${table} has no field ${extra}; its fields are ${Object.keys(fields).join(", ")}.`,
    );
  }
  return checkSize(table, row);
}

function checkSize(table: MemoryTable, row: UncheckedObject): number {
  const size = check(row, table);
  if (size > DOCUMENT_BYTES_MAX) {
    throw limitExceeded(
      `A row of ${table} would be ${size.toLocaleString("en-US")} bytes; a document holds at ` +
        `most ${DOCUMENT_BYTES_MAX.toLocaleString("en-US")} (1 MiB). Split it into several.`,
      { limitBytes: DOCUMENT_BYTES_MAX, bytes: size },
    );
  }
  return size;
}

function fits(validator: FieldValidator, value: unknown): boolean {
  switch (validator.kind) {
    case "any":
      return true;
    case "literal":
      return value === validator.value;
    case "array":
      return Array.isArray(value) && value.every((item) => fits(elementOf(validator), item));
    case "union":
      return membersOf(validator).some((member) => fits(member, value));
    case "commitTs":
      return typeof value === "bigint" || value instanceof CommitTsPlaceholder;
    default:
      return kindOf(value) === wanted(validator);
  }
}

function wanted(validator: FieldValidator): string {
  switch (validator.kind) {
    case "float64":
      return "number";
    case "id":
      return "string";
    case "literal":
      return String(validator.value);
    case "array":
      return `array of ${wanted(elementOf(validator))}`;
    case "union": {
      const names = membersOf(validator).map(wanted);
      return membersOf(validator).every(({ kind }) => kind === "literal")
        ? `one of ${names.sort().join(", ")}`
        : names.join(" or ");
    }
    default:
      return validator.kind;
  }
}

function elementOf(validator: FieldValidator): FieldValidator {
  if (validator.element === undefined) throw new Error("An array declares its elements.");
  return validator.element;
}

function membersOf(validator: FieldValidator): readonly FieldValidator[] {
  return validator.members ?? [];
}

function kindOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}
