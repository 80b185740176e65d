/** What Convex takes as a value in a stored document, checked with errors that name the place. */
import { invalidArgument, limitExceeded } from "./errors";
import {
  ARRAY_ELEMENTS_MAX,
  DOCUMENT_NESTING_MAX,
  FIELD_NAME_CHARS_MAX,
  OBJECT_FIELDS_MAX,
} from "./limits";
import { quoted } from "./quoted";

/** An object whose members nobody has checked. */
export type UncheckedObject = Readonly<Record<string, unknown>>;

/** Whether a value is an object: not null, not an array, not bytes. */
export function isObject(value: unknown): value is UncheckedObject {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof ArrayBuffer)
  );
}

/** Whether a value is an array of finite numbers. */
export function isFiniteVector(values: unknown): values is number[] {
  return Array.isArray(values) && values.every((value) => Number.isFinite(value));
}

/** Whether a value is a number that can be counted with: neither NaN nor infinite. */
export function isFiniteNumber(value: unknown): value is number {
  return Number.isFinite(value);
}

/**
 * Check that a value can stand in a stored document.
 *
 * Members whose value is `undefined` are absent.
 *
 * @param value Any value.
 * @param where How an error names it.
 * @param nestingMax Levels of arrays and objects it may have.
 * @returns Its size in bytes, by Convex's size model.
 * @throws `invalid_argument` for a field name that Convex reserves or cannot hold; `limit_exceeded`
 *   for what is too deep, has too many elements or fields, or too long a field name.
 */
export function check(value: unknown, where: string, nestingMax = DOCUMENT_NESTING_MAX): number {
  if (typeof value === "string") return utf8Length(value) + 2;
  if (value === null || typeof value === "boolean") return 1;
  if (typeof value === "number" || typeof value === "bigint") return 9;
  if (value instanceof ArrayBuffer) return value.byteLength + 2;
  if (Array.isArray(value)) return checkArray(value, where, nestingMax);
  if (isObject(value)) return checkObject(value, where, nestingMax);
  throw invalidArgument(`${where} is of type ${typeof value}, which is not a value Convex stores.`);
}

function checkObject(value: UncheckedObject, where: string, nestingMax: number): number {
  if (nestingMax <= 0) throw tooDeep(where);
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  if (members.length > OBJECT_FIELDS_MAX) {
    throw limitExceeded(
      `${where} has ${members.length} fields; an object holds at most ${OBJECT_FIELDS_MAX}.`,
    );
  }
  let size = 2;
  for (const [name, member] of members) {
    checkName(name, where);
    size += name.length + 1 + check(member, `${where}.${name}`, nestingMax - 1);
  }
  return size;
}

function checkArray(value: readonly unknown[], where: string, nestingMax: number): number {
  if (nestingMax <= 0) throw tooDeep(where);
  if (value.length > ARRAY_ELEMENTS_MAX) {
    throw limitExceeded(
      `${where} has ${value.length} elements; an array holds at most ${ARRAY_ELEMENTS_MAX}.`,
    );
  }
  // A vector needs no text for the place of each of its numbers.
  if (value.every((item) => typeof item === "number")) return 2 + 9 * value.length;
  return value.reduce<number>(
    (size, item, position) => size + check(item, `${where}[${position}]`, nestingMax - 1),
    2,
  );
}

function tooDeep(where: string) {
  return limitExceeded(
    `${where} is nested too deeply: a document holds ${DOCUMENT_NESTING_MAX} levels of arrays ` +
      "and objects. Store deep JSON as text.",
  );
}

function checkName(name: string, where: string): void {
  if (name.length > FIELD_NAME_CHARS_MAX) {
    throw limitExceeded(
      `${where} has a field name of ${name.length} characters; ` +
        `at most ${FIELD_NAME_CHARS_MAX} are allowed.`,
    );
  }
  if (name.startsWith("$")) {
    throw invalidArgument(
      `Field name ${name} starts with '$', which is reserved. It is in ${where}: ` +
        "rename the key or store the object as JSON text.",
    );
  }
  if (!/^[ -~]*$/.test(name)) {
    throw invalidArgument(
      `Field name ${quoted(name)} in ${where} has a character outside printable ASCII. ` +
        "Rename the key or store the object as JSON text.",
    );
  }
}

/** Members whose value is `undefined` left out. */
export function present<Fields extends UncheckedObject>(fields: Fields): Fields {
  return Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== undefined),
  ) as Fields;
}

/** The bytes of a text in UTF-8. */
export function utf8Length(text: string): number {
  let length = text.length;
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charCodeAt(at);
    if (unit > 0x7ff) {
      // Half of a surrogate pair stands for two of the pair's four bytes.
      length += unit >= 0xd800 && unit <= 0xdfff ? 1 : 2;
    } else if (unit > 0x7f) {
      length += 1;
    }
  }
  return length;
}
