/** What the `memory/*` functions take, and how they refuse what is out of range. */
import { type GenericValidator, type Infer, type Value, v } from "convex/values";
import { invalidArgument } from "../../lib/errors";
import { isObject, type UncheckedObject } from "../../lib/values";

/** An argument that may be absent, or null, which means the same. */
export function given<V extends GenericValidator & { isOptional: "required" }>(validator: V) {
  return v.optional(v.union(validator, v.null()));
}

/** Text that may be absent. */
export const vText = given(v.string());
/** A number that may be absent. */
export const vNumber = given(v.number());
/** Any value; what it has to be, the function says. */
export const vAny = v.optional(v.any());

type Given<T> = T | null | undefined;

/**
 * Return a text argument.
 *
 * @throws `invalid_argument` when it is empty.
 */
export function text(value: string, name: string): string {
  if (value === "") throw invalidArgument(`${name} must be non-empty text.`);
  return value;
}

/**
 * Return a text argument, or undefined where it is absent.
 *
 * @throws `invalid_argument` when it is empty.
 */
export function optionalText(value: Given<string>, name: string): string | undefined {
  return value === undefined || value === null ? undefined : text(value, name);
}

/**
 * Return an integer argument between `least` and `most`; `otherwise` where it is absent.
 *
 * @throws `invalid_argument` when it is absent without a default, not an integer, or out of range.
 */
export function whole(
  value: Given<number>,
  name: string,
  least: number,
  most: number,
  otherwise?: number,
): number {
  const number = value === undefined ? otherwise : value;
  if (typeof number !== "number" || !Number.isInteger(number) || number < least || number > most) {
    throw invalidArgument(`${name} must be an integer between ${least} and ${most}.`);
  }
  return number;
}

/**
 * Return a time in milliseconds since the epoch, or undefined where it is absent or null.
 *
 * @throws `invalid_argument` when it is not a number that can be a time.
 */
export function time(value: unknown, name: string): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "number" || !(value >= 0 && value < 2 ** 53)) {
    throw invalidArgument(`${name} must be milliseconds since 1970.`);
  }
  return value;
}

/**
 * Return a text argument that is one of `choices`; the first of them when it is absent.
 *
 * @throws `invalid_argument` when it is something else.
 */
export function choice<Choice extends string>(
  value: Given<string>,
  name: string,
  choices: readonly [Choice, ...Choice[]],
): Choice {
  if (value === undefined || value === null) return choices[0];
  const found = choices.find((each) => each === value);
  if (found === undefined) throw invalidArgument(`${name} must be one of ${choices.join(", ")}.`);
  return found;
}

/**
 * Return an argument that must be an object.
 *
 * @throws `invalid_argument` when it is something else.
 */
export function object(value: Value, name: string): UncheckedObject {
  if (!isObject(value)) throw invalidArgument(`${name} must be an object.`);
  return value;
}

/**
 * Return the ids a call names, each once.
 *
 * @throws `invalid_argument` when there are none, too many, or one that is empty.
 */
export function idsOf(ids: readonly string[], most: number): string[] {
  if (ids.length < 1 || ids.length > most || ids.includes("")) {
    throw invalidArgument(`ids must be an array of 1 to ${most} message ids.`);
  }
  return [...new Set(ids)];
}

/** The call's `now`, or the deployment's clock, as ISO-8601 UTC with milliseconds. */
export function nowIso(now: Given<string>): string {
  return optionalText(now, "now") ?? new Date().toISOString();
}

/** A type that a validator's value has. */
export type Of<V extends GenericValidator> = Infer<V>;
