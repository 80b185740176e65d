/** Storage requests and their answers: arguments checked, rows matched. */
import { ARRAY_ELEMENTS_MAX, QUERY_ROWS_MAX } from "../lib/limits";
import { invalidArgument, limitExceeded } from "../lib/errors";
import { isObject, type UncheckedObject } from "../lib/values";

/** A storage request as it came: `{op, tableName, …}`. */
export type Request = UncheckedObject;

/** The envelope of an answer. */
export type Reply = {
  ok: true;
  result?: unknown;
  hasMore?: boolean;
  continuationCursor?: string;
};

/** One condition of `queryTable`: the field strictly equals the value. */
export interface Equality {
  readonly field: string;
  readonly value: unknown;
}

/** Makes the function answer `{ok: false, error}`, which is no failure of the call. */
export class SoftRefusal extends Error {}

const CURSOR_PREFIX = "after:";

/**
 * An argument that must be an object, as a copy that may be changed.
 *
 * @throws `invalid_argument` when it is something else.
 */
export function recordArgument(request: Request, name: string): Record<string, unknown> {
  const value = request[name];
  if (!isObject(value)) throw invalidArgument(`${name} must be an object.`);
  return { ...value };
}

/**
 * The record ids of a request, each once.
 *
 * @throws `invalid_argument` when they are not an array of ids.
 */
export function idsArgument(request: Request): unknown[] {
  const { ids } = request;
  if (!Array.isArray(ids)) throw invalidArgument("ids must be an array of record ids.");
  const odd = ids.findIndex((id) => typeof id === "object" && id !== null);
  if (odd >= 0) {
    throw invalidArgument(`ids[${odd}] must be a record id, not an array or an object.`);
  }
  return ids;
}

/**
 * The conditions of a request; absent filters are none.
 *
 * @throws `invalid_argument` when they are not an array of `{field, value}`.
 */
export function filtersArgument(request: Request): Equality[] {
  const filters = request["filters"] ?? [];
  if (!Array.isArray(filters)) {
    throw invalidArgument("filters must be an array of {field, value}.");
  }
  return filters.map((each, position) => {
    const { field, value } = isObject(each) ? each : {};
    if (typeof field !== "string" || value === undefined) {
      throw invalidArgument(`filters[${position}] must be {field, value}.`);
    }
    return { field, value };
  });
}

/** A record id as text: what tells records apart where ids need not be text. */
export function asKey(id: unknown): string {
  return typeof id === "string" ? id : JSON.stringify(id ?? null);
}

/** Whether every filtered field of a row strictly equals its value. */
export function matches(row: UncheckedObject, filters: readonly Equality[]): boolean {
  return filters.every(({ field, value }) => row[field] === value);
}

/**
 * How many rows may be answered; undefined for as many as there are.
 *
 * @throws `invalid_argument` when it is not a number, or negative.
 */
export function limitArgument(request: Request): number | undefined {
  const { limit } = request;
  if (!limit) return undefined;
  if (typeof limit !== "number" || limit < 0) {
    throw invalidArgument("queryTable limit must be a number that is not negative");
  }
  return Math.floor(limit);
}

/** How many rows a read with this limit looks at before it filters. */
export function rowsToRead(limit: number | undefined): number {
  return limit === undefined ? QUERY_ROWS_MAX : Math.min(limit * 2, QUERY_ROWS_MAX);
}

/**
 * The answer with these rows.
 *
 * @throws `limit_exceeded` when they are more than Convex returns in one array.
 */
export function rowsReply(rows: readonly unknown[]): Reply {
  if (rows.length > ARRAY_ELEMENTS_MAX) {
    throw limitExceeded(
      `The answer would have more than ${ARRAY_ELEMENTS_MAX.toLocaleString("en-US")} rows, which ` +
        "is as many as Convex returns. Give a limit or more filters; memory/messages:page and " +
        "memory/threads:list read any number a page at a time.",
    );
  }
  return { ok: true, result: rows };
}

/** A place in a scan in creation order: just after one row. */
export interface Position {
  readonly created: number;
  readonly id: string;
}

/** The cursor that continues after a row. */
export function writeCursor(row: { _creationTime: number; _id: string }): string {
  return `${CURSOR_PREFIX}${row._creationTime}:${row._id}`;
}

/**
 * The place after which a page starts; undefined for the first page.
 *
 * @throws `invalid_argument` when the cursor is not one that a page was answered with.
 */
export function cursorArgument(cursor: unknown): Position | undefined {
  if (cursor === undefined || cursor === null) return undefined;
  const [, time, id] =
    (typeof cursor === "string" && /^after:(\d+(?:\.\d+)?):(\w+(?:;\w+)?)$/.exec(cursor)) || [];
  if (time === undefined || id === undefined) {
    throw invalidArgument("queryTable cursor must come from an earlier page");
  }
  return { created: Number(time), id };
}
