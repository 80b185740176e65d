/** Rows as JSON text in Convex's value coding, so that they arrive as they were. */
import { convexToJson, type JSONValue, jsonToConvex, type Value } from "convex/values";
import { invalidArgument } from "../../lib/errors";
import { isObject, type UncheckedObject } from "../../lib/values";

/** A row of values that nobody has held against a declaration. */
export type Fields = Record<string, Value>;

/** A row as text, on one line. */
export function rowText(fields: UncheckedObject): string {
  return JSON.stringify(convexToJson(fields as Fields));
}

/**
 * The row that a text stands for.
 *
 * @throws `invalid_argument` when it is not that of a row.
 */
export function readRow(text: string): Fields {
  let row: unknown;
  try {
    row = jsonToConvex(JSON.parse(text) as JSONValue);
  } catch {
    throw invalidArgument("It is not JSON, or holds a value that is not coded as Convex codes it.");
  }
  if (!isObject(row)) throw invalidArgument("It is not a row: a row is a JSON object.");
  return row as Fields;
}

/**
 * Whether two values are the same to whoever reads them: -0 is not 0, NaN is NaN, and the order of
 * an object's fields is none.
 */
export function same(left: unknown, right: unknown): boolean {
  if (Array.isArray(left) && Array.isArray(right)) {
    return left.length === right.length && left.every((item, at) => same(item, right[at]));
  }
  if (isObject(left) && isObject(right)) {
    const names = Object.keys(left);
    return (
      names.length === Object.keys(right).length &&
      names.every((name) => Object.hasOwn(right, name) && same(left[name], right[name]))
    );
  }
  if (left instanceof ArrayBuffer && right instanceof ArrayBuffer) {
    return sameBytes(new Uint8Array(left), new Uint8Array(right));
  }
  return Object.is(left, right);
}

function sameBytes(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((byte, at) => byte === right[at]);
}
