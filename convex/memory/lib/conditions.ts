/** What a filter says, as values, and whether it holds; as `convex_memory/conditions.py`. */
import type { Value } from "convex/values";
import { isObject } from "../../lib/values";
import { compilePattern } from "./patterns";

/** All of these hold. Empty: always. */
export type Every = { kind: "every"; of: readonly Node[] };
/** At least one of these holds. Empty: never. */
export type Some = { kind: "some"; of: readonly Node[] };
/** This does not hold. */
export type Not = { kind: "not"; of: Node };
/** One test of one field. The path `""` is the value itself, inside `Element`. */
export type Condition = { kind: "condition"; path: string; operator: Operator; operand: Value };
/** The field has the pattern in it. */
export type Regex = { kind: "regex"; path: string; pattern: string; ignoreCase: boolean };
/** One element of the array field satisfies all of the inner node. */
export type Element = { kind: "element"; path: string; of: Node };
/** A filter that has been read. */
export type Node = Every | Some | Not | Condition | Regex | Element;

/** The operators of one field and one operand. */
export type Operator =
  | "eq"
  | "in"
  | "gt"
  | "gte"
  | "lt"
  | "lte"
  | "exists"
  | "contains"
  | "size";

const EVERYTHING: Every = { kind: "every", of: [] };
const NOTHING: Some = { kind: "some", of: [] };

/** Whether a node matches everything, also a record without metadata. */
export function isEverything(node: Node): boolean {
  return node.kind === "every" && node.of.length === 0;
}

/** The conjunction of some nodes, in its simplest form. */
export function every(nodes: readonly Node[]): Node {
  const flat = nodes.flatMap((node) => (node.kind === "every" ? node.of : [node]));
  return flat.length === 1 && flat[0] !== undefined ? flat[0] : { kind: "every", of: flat };
}

/** The disjunction of some nodes, in its simplest form. */
export function some(nodes: readonly Node[]): Node {
  const flat = nodes.flatMap((node) => (node.kind === "some" ? node.of : [node]));
  if (flat.some(isEverything)) return EVERYTHING;
  return flat.length === 1 && flat[0] !== undefined ? flat[0] : { kind: "some", of: flat };
}

/** The opposite of a node, in its simplest form. */
export function negate(node: Node): Node {
  if (isEverything(node)) return NOTHING;
  return node.kind === "some" && node.of.length === 0 ? EVERYTHING : { kind: "not", of: node };
}

// --- Evaluation

/**
 * Whether a node holds for a document, or inside `Element` for any value.
 *
 * @throws `limit_exceeded` when a pattern meets a text that is too long for one.
 */
export function holds(node: Node, document: Value): boolean {
  switch (node.kind) {
    case "every":
      return node.of.every((inner) => holds(inner, document));
    case "some":
      return node.of.some((inner) => holds(inner, document));
    case "not":
      return !holds(node.of, document);
    case "condition":
      return conditionHolds(node, document);
    case "regex": {
      const pattern = compilePattern(node.pattern, node.ignoreCase);
      return valuesAt(document, node.path)
        .flatMap(itselfAndElements)
        .some((text) => typeof text === "string" && pattern.foundIn(text));
    }
    case "element":
      return valuesAt(document, node.path).some(
        (value) => Array.isArray(value) && value.some((element) => holds(node.of, element)),
      );
  }
}

function conditionHolds({ path, operator, operand }: Condition, document: Value): boolean {
  const values = valuesAt(document, path);
  if (operator === "exists") return values.length > 0 === operand;
  const test = TESTS[operator];
  return values.some((value) => test(value, operand));
}

/** The values a path leads to: none when absent, several through an array of objects. */
export function valuesAt(document: Value, path: string): Value[] {
  if (path === "") return [document];
  if (!isObject(document)) return [];
  const whole = member(document, path);
  if (whole !== undefined) return [whole];
  if (!path.includes(".")) return [];
  let found: Value[] = [document];
  for (const name of path.split(".")) found = found.flatMap((value) => members(value, name));
  return found;
}

function members(value: Value, name: string): Value[] {
  if (isObject(value)) return listed(member(value, name));
  if (!Array.isArray(value)) return [];
  if (/^\d+$/.test(name)) return name.length <= 9 ? listed(value[Number(name)]) : [];
  return value.flatMap((item) => (isObject(item) ? listed(member(item, name)) : []));
}

/** An object as its type has it: members that are absent may be `undefined`. */
type Members = Readonly<Record<string, Value | undefined>>;

function member(value: Members, name: string): Value | undefined {
  return Object.hasOwn(value, name) ? value[name] : undefined;
}

function listed(value: Value | undefined): Value[] {
  return value === undefined ? [] : [value];
}

/** Equality of JSON values all the way down, with strict types. */
export function equal(left: Value, right: Value): boolean {
  if (Array.isArray(left) && Array.isArray(right)) {
    return (
      left.length === right.length && left.every((item, at) => equal(item, right[at] ?? null))
    );
  }
  if (isObject(left) && isObject(right)) {
    const names = Object.keys(left);
    return (
      names.length === Object.keys(right).length &&
      names.every((name) => Object.hasOwn(right, name) && equal(left[name]!, right[name]!))
    );
  }
  return left === right;
}

function itselfAndElements(value: Value): Value[] {
  return Array.isArray(value) ? [value, ...value] : [value];
}

function equals(value: Value, operand: Value): boolean {
  return itselfAndElements(value).some((candidate) => equal(candidate, operand));
}

function ordered(compare: (order: number) => boolean) {
  return (value: Value, operand: Value): boolean =>
    itselfAndElements(value).some((candidate) => {
      if (typeof candidate === "number" && typeof operand === "number") {
        return compare(candidate - operand);
      }
      if (typeof candidate !== "string" || typeof operand !== "string") return false;
      return compare(byCodePoint(candidate, operand));
    });
}

/** Text by code point, where JavaScript's own `<` goes by UTF-16 unit. */
function byCodePoint(left: string, right: string): number {
  let at = 0;
  while (at < left.length && left.charCodeAt(at) === right.charCodeAt(at)) at += 1;
  // Two different characters may share their first unit, so look at whole ones.
  const start = at > 0 && isHighSurrogate(left.charCodeAt(at - 1)) ? at - 1 : at;
  return (left.codePointAt(start) ?? -1) - (right.codePointAt(start) ?? -1);
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdbff;
}

function contains(value: Value, operand: Value): boolean {
  if (typeof value === "string") return typeof operand === "string" && value.includes(operand);
  if (Array.isArray(value)) {
    const wanted = Array.isArray(operand) ? operand : [operand];
    return wanted.every((one) => value.some((item) => equal(item, one)));
  }
  if (!isObject(value) || !isObject(operand)) return false;
  return Object.entries(operand).every(([name, inner]) => {
    const own = member(value, name);
    if (own === undefined || inner === undefined) return false;
    return equal(own, inner) || contains(own, inner);
  });
}

const TESTS: Record<Exclude<Operator, "exists">, (value: Value, operand: Value) => boolean> = {
  eq: equals,
  in: (value, operand) => Array.isArray(operand) && operand.some((one) => equals(value, one)),
  gt: ordered((order) => order > 0),
  gte: ordered((order) => order >= 0),
  lt: ordered((order) => order < 0),
  lte: ordered((order) => order <= 0),
  contains,
  size: (value, operand) => Array.isArray(value) && value.length === operand,
};
