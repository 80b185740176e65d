/**
 * Filters over metadata, as functions take them: nested arrays, because no field name in
 * arguments may begin with `$`. `docs/functions.md` has the grammar, `convex_memory/filters.py`
 * the other implementation.
 */
import type { Value } from "convex/values";
import { invalidArgument, limitExceeded } from "../../lib/errors";
import { DOCUMENT_NESTING_MAX, FIELD_NAME_CHARS_MAX } from "../../lib/limits";
import { type Node, type Operator, every, holds, isEverything, negate, some } from "./conditions";
import { compilePattern } from "./patterns";

/** Levels of `and`, `or`, `not` and `element`. */
export const FILTER_DEPTH_MAX = 16;
export const FILTER_CONDITIONS_MAX = 256;
/** Values of one `in`. */
export const FILTER_VALUES_MAX = 1000;

/** A filter that has been read. */
export class Filter {
  constructor(readonly root: Node) {}

  /** Whether it matches every record, also those without metadata. */
  get isEmpty(): boolean {
    return isEverything(this.root);
  }

  /**
   * Whether a record with this metadata satisfies the filter.
   *
   * @param metadata The record's metadata; undefined or null when it has none.
   * @throws `limit_exceeded` when a pattern meets a text that is too long for one.
   */
  matches(metadata: Value | undefined): boolean {
    if (metadata === undefined || metadata === null) return this.isEmpty;
    return holds(this.root, metadata);
  }

  /** The filters that must all hold for this one to hold; none for the empty filter. */
  parts(): Node[] {
    return this.root.kind === "every" ? [...this.root.of] : [this.root];
  }
}

/**
 * Read a filter.
 *
 * @param value The nested arrays; null and undefined are the empty filter.
 * @throws `invalid_argument` when it is not such an array; `limit_exceeded` when it is deeper
 *   than 16 levels, has more than 256 conditions, more than 1000 values in one list, or a pattern
 *   that is too long.
 */
export function readFilter(value: Value | undefined): Filter {
  if (value === undefined || value === null) return new Filter(every([]));
  const root = new FilterReader().node(value, 1);
  // Counted on what was read, because each spelling nests in its own way.
  refuseDeeperThanLimit(depthOf(root));
  return new Filter(root);
}

function depthOf(node: Node): number {
  switch (node.kind) {
    case "every":
    case "some":
      return 1 + Math.max(0, ...node.of.map(depthOf));
    case "not":
    case "element":
      return 1 + depthOf(node.of);
    default:
      return 1;
  }
}

function refuseDeeperThanLimit(depth: number): void {
  if (depth > FILTER_DEPTH_MAX) {
    throw limitExceeded(
      `The filter is nested more than ${FILTER_DEPTH_MAX} deep. Flatten its $and and $or.`,
    );
  }
}

class FilterReader {
  private conditions = 0;

  node(value: Value, depth: number): Node {
    refuseDeeperThanLimit(depth);
    const parts: Value[] = Array.isArray(value) ? value : [];
    const [name, path, operand, ...rest] = parts;
    const read =
      typeof path === "string" && operand !== undefined
        ? this.field(name, path, operand, rest, depth)
        : this.branches(parts, depth);
    if (read !== null) return read;
    throw invalidArgument(
      "A filter is a nested array such as " +
        '["and", [["eq", "lang", "en"], ["gt", "year", 1990]]]; this one has a part that ' +
        `is none of and, or, not, element, regex, ${Object.keys(OPERANDS).join(", ")}.`,
    );
  }

  private branches([name, of, ...rest]: readonly Value[], depth: number): Node | null {
    if (of === undefined || rest.length > 0) return null;
    if (name === "not") return negate(this.node(of, depth + 1));
    if ((name !== "and" && name !== "or") || !Array.isArray(of)) return null;
    const nodes = of.map((node) => this.node(node, depth + 1));
    return name === "and" ? every(nodes) : some(nodes);
  }

  private field(
    name: Value | undefined,
    path: string,
    operand: Value,
    rest: readonly Value[],
    depth: number,
  ): Node | null {
    const [ignoreCase, ...more] = rest;
    if (name === "regex" && typeof ignoreCase === "boolean" && more.length === 0) {
      return this.regex(path, operand, ignoreCase);
    }
    if (rest.length > 0) return null;
    if (name === "element") {
      this.count(path);
      return { kind: "element", path, of: this.node(operand, depth + 1) };
    }
    if (!isOperator(name)) return null;
    this.count(path);
    const where = `The filter's $${name} for ${path || "an element"}`;
    OPERANDS[name](where, operand);
    return { kind: "condition", path, operator: name, operand };
  }

  private regex(path: string, pattern: Value, ignoreCase: boolean): Node {
    this.count(path);
    if (typeof pattern !== "string") {
      throw invalidArgument(`The filter's $regex for ${path || "an element"} takes text.`);
    }
    compilePattern(pattern, ignoreCase);
    return { kind: "regex", path, pattern, ignoreCase };
  }

  /** Spend one condition of the budget, on a field of this name. */
  private count(path: string): void {
    this.conditions += 1;
    if (this.conditions > FILTER_CONDITIONS_MAX) {
      throw limitExceeded(
        `The filter has more than ${FILTER_CONDITIONS_MAX} conditions. ` +
          "Use $in for many values of one field.",
      );
    }
    if (path.length > FIELD_NAME_CHARS_MAX) {
      throw limitExceeded(
        `The filter names a field of ${path.length} characters; ` +
          `at most ${FIELD_NAME_CHARS_MAX} are allowed.`,
      );
    }
  }
}

// --- Operands

type Check = (where: string, operand: Value) => void;

const anyValue: Check = (where, operand) => {
  checkValue(where, operand, DOCUMENT_NESTING_MAX);
};

const comparable: Check = (where, operand) => {
  if (typeof operand !== "number" && typeof operand !== "string") {
    throw invalidArgument(`${where} takes a number or text, not ${kindOf(operand)}.`);
  }
  anyValue(where, operand);
};

const values: Check = (where, operand) => {
  if (!Array.isArray(operand)) {
    throw invalidArgument(`${where} takes a list of values, not ${kindOf(operand)}.`);
  }
  if (operand.length > FILTER_VALUES_MAX) {
    throw limitExceeded(
      `${where} lists ${operand.length} values; at most ${FILTER_VALUES_MAX} are allowed.`,
    );
  }
  operand.forEach((one, position) => {
    anyValue(`${where}, value ${position},`, one);
  });
};

const OPERANDS: Record<Operator, Check> = {
  eq: anyValue,
  in: values,
  gt: comparable,
  gte: comparable,
  lt: comparable,
  lte: comparable,
  exists: (where, operand) => {
    if (typeof operand !== "boolean") {
      throw invalidArgument(`${where} takes true or false, not ${kindOf(operand)}.`);
    }
  },
  contains: anyValue,
  size: (where, operand) => {
    if (typeof operand !== "number" || !Number.isInteger(operand) || operand < 0) {
      throw invalidArgument(`${where} takes a whole number from 0 up.`);
    }
  },
};

function isOperator(name: Value | undefined): name is Operator {
  return typeof name === "string" && Object.hasOwn(OPERANDS, name);
}

/** Refuse what JSON has no text for, and what is deeper than a stored document can be. */
function checkValue(where: string, value: Value, levels: number): void {
  if (typeof value === "number" && !Number.isFinite(value)) {
    throw invalidArgument(`${where} is ${value}; numbers must be finite.`);
  }
  if (typeof value === "bigint" || value instanceof ArrayBuffer) {
    throw invalidArgument(`${where} is ${kindOf(value)}, which is not a JSON value.`);
  }
  if (typeof value !== "object" || value === null) return;
  if (levels <= 0) {
    throw limitExceeded(
      `${where} is nested too deeply: a document holds ${DOCUMENT_NESTING_MAX} levels of arrays ` +
        "and objects. Store deep JSON as text.",
    );
  }
  for (const inner of Object.values(value)) checkValue(where, inner as Value, levels - 1);
}

/** What to call a value of the wrong type in a refusal. */
function kindOf(value: Value): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  if (value instanceof ArrayBuffer) return "bytes";
  const names: Record<string, string> = {
    bigint: "an int64",
    boolean: "true or false",
    number: "a number",
    object: "an object",
    string: "text",
  };
  return names[typeof value] ?? typeof value;
}
