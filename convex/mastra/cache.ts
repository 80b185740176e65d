/**
 * `mastra/cache:handle`: values, lists and counters that expire.
 *
 * One row of `mastra_cache` for each key; a list keeps its length in `counter` and its items in
 * `mastra_cache_list_items`. Expiry is checked when a key is touched. What has to be removed is
 * removed a few items at a time: the answer says `hasMore`, the row is a tombstone meanwhile, and
 * the caller repeats its call.
 */
import type { Infer } from "convex/values";
import { internalMutation } from "../_generated/server";
import {
  type CacheRow as Row,
  isExpired,
  ITEMS,
  itemsOf,
  KEYS,
  removeKey,
} from "../lib/cacheRows";
import type { WritableDocuments } from "../lib/documents";
import { invalidArgument, limitExceeded } from "../lib/errors";
import { ARRAY_ELEMENTS_MAX, CACHE_DELETE_ITEMS_MAX } from "../lib/limits";
import { wireReply, wireRequest } from "../lib/validators";
import { following } from "../memory/lib/followed";
import { SoftRefusal, type Reply, type Request } from "./requests";

const AGAIN: Reply = { ok: true, hasMore: true };

type Operation = (documents: WritableDocuments, request: Request) => Promise<Reply>;

/** Run one cache request. */
export const handle = internalMutation({
  args: wireRequest,
  returns: wireReply,
  handler: async (ctx, request: Request): Promise<Infer<typeof wireReply>> => {
    try {
      const operation = OPERATIONS.get(request["op"]);
      if (operation === undefined) {
        throw new SoftRefusal(`Unsupported operation ${String(request["op"])}`);
      }
      return await following(ctx, async (documents) => await operation(documents, request));
    } catch (error) {
      // Operations refuse softly before they write anything, so this commits nothing of them.
      if (error instanceof SoftRefusal) return { ok: false, error: error.message };
      throw error;
    }
  },
});

async function get(documents: WritableDocuments, request: Request): Promise<Reply> {
  const { row, hasMore } = await liveRow(documents, request);
  if (hasMore) return { ok: true, result: null, hasMore };
  return { ok: true, result: row?.kind === "value" ? JSON.parse(row.value ?? "null") : null };
}

async function set(documents: WritableDocuments, request: Request): Promise<Reply> {
  const row = await rowOf(documents, request);
  const inTheWay = row !== null && (row.kind !== "value" || isExpired(row));
  if (inTheWay && (await removeKey(documents, keyOf(request), row))) return AGAIN;
  const record = { ...recordOf(request, "value"), value: jsonOf(request["value"]) };
  await documents.upsert(KEYS, record, inTheWay ? null : row);
  return { ok: true };
}

async function listLength(documents: WritableDocuments, request: Request): Promise<Reply> {
  const { row, hasMore } = await liveRow(documents, request);
  if (hasMore) return { ok: true, result: 0, hasMore };
  return { ok: true, result: row === null ? 0 : countIn(row, "list", "an array") };
}

async function listPush(documents: WritableDocuments, request: Request): Promise<Reply> {
  const { row, hasMore } = await liveRow(documents, request);
  if (hasMore) return AGAIN;
  const index = row === null ? 0 : countIn(row, "list", "an array");
  await documents.upsert(KEYS, { ...recordOf(request, "list"), counter: index + 1 }, row);
  await documents.insert(ITEMS, {
    key: keyOf(request),
    keyPrefix: prefixOf(request),
    index,
    value: jsonOf(request["value"]),
  });
  return { ok: true, result: index + 1 };
}

async function listFromTo(documents: WritableDocuments, request: Request): Promise<Reply> {
  const { row, hasMore } = await liveRow(documents, request);
  if (hasMore) return { ok: true, result: [], hasMore };
  if (row?.kind !== "list") return { ok: true, result: [] };
  const range = positions(request, row.counter ?? 0);
  if (range === undefined) return { ok: true, result: [] };
  const values: unknown[] = [];
  for await (const item of documents.scan(ITEMS, { ...itemsOf(row.key), ...range })) {
    values.push(JSON.parse(item.value));
  }
  return { ok: true, result: values };
}

/** The items asked for, both ends included; undefined when there are none. */
function positions(request: Request, length: number): { gte: number; lte: number } | undefined {
  const [from, to] = [positionOf(request, "from"), positionOf(request, "to")];
  const first = from < 0 ? Math.max(length + from, 0) : from;
  const last = to < 0 ? length + to : Math.min(to, length - 1);
  if (last < first) return undefined;
  if (last - first >= ARRAY_ELEMENTS_MAX) {
    throw limitExceeded(
      `One call answers at most ${ARRAY_ELEMENTS_MAX.toLocaleString("en-US")} items of a list. ` +
        "Ask for a shorter range.",
    );
  }
  return { gte: first, lte: last };
}

async function increment(documents: WritableDocuments, request: Request): Promise<Reply> {
  const { row, hasMore } = await liveRow(documents, request);
  if (hasMore) return AGAIN;
  const counter = (row === null ? 0 : countIn(row, "counter", "a number")) + 1;
  await documents.upsert(KEYS, { ...recordOf(request, "counter"), counter }, row);
  return { ok: true, result: counter };
}

async function deleteKey(documents: WritableDocuments, request: Request): Promise<Reply> {
  const row = await rowOf(documents, request);
  return { ok: true, hasMore: await removeKey(documents, keyOf(request), row) };
}

async function clear(documents: WritableDocuments, request: Request): Promise<Reply> {
  const range = { index: "by_key_prefix", equals: [prefixOf(request)] };
  const { rows, hasMore: moreRows } = await documents.some(KEYS, range, CACHE_DELETE_ITEMS_MAX);
  if (rows.length === 0) {
    const { rows: items, hasMore } = await documents.some(ITEMS, range, CACHE_DELETE_ITEMS_MAX);
    for (const item of items) await documents.delete(ITEMS, item);
    return { ok: true, hasMore };
  }
  const hasItems = (await documents.first(ITEMS, range)) !== null;
  for (const row of rows) {
    if (row.kind === "list" || row.kind === "deleted") {
      const hasMore = await removeKey(documents, row.key, row);
      return { ok: true, hasMore: hasMore || moreRows || rows.length > 1 || hasItems };
    }
    await documents.delete(KEYS, row);
  }
  return { ok: true, hasMore: moreRows || hasItems };
}

const OPERATIONS: ReadonlyMap<unknown, Operation> = new Map<unknown, Operation>([
  ["get", get],
  ["set", set],
  ["listLength", listLength],
  ["listPush", listPush],
  ["listFromTo", listFromTo],
  ["increment", increment],
  ["delete", deleteKey],
  ["clear", clear],
]);

// --- Rows

async function rowOf(documents: WritableDocuments, request: Request): Promise<Row | null> {
  return await documents.first(KEYS, { index: "by_key", equals: [keyOf(request)] });
}

/** The key's live row; a dead one is removed, which may have to go on in another call. */
async function liveRow(
  documents: WritableDocuments,
  request: Request,
): Promise<{ row: Row | null; hasMore: boolean }> {
  const row = await rowOf(documents, request);
  if (row === null || (row.kind !== "deleted" && !isExpired(row))) return { row, hasMore: false };
  return { row: null, hasMore: await removeKey(documents, keyOf(request), row) };
}

function countIn(row: Row, kind: Row["kind"], wording: string): number {
  if (row.kind !== kind) throw new SoftRefusal(`${row.key} exists but is not ${wording}`);
  return row.counter ?? 0;
}

function recordOf(request: Request, kind: Row["kind"]) {
  const { expiresAt } = request;
  return { key: keyOf(request), keyPrefix: prefixOf(request), kind, expiresAt: expiresAt ?? null };
}

// --- Arguments

function keyOf({ key }: Request): string {
  if (typeof key !== "string") throw invalidArgument("key must be text.");
  return key;
}

function prefixOf({ keyPrefix }: Request): string {
  if (typeof keyPrefix !== "string") throw invalidArgument("keyPrefix must be text.");
  return keyPrefix;
}

function positionOf(request: Request, name: "from" | "to"): number {
  const value = request[name];
  if (typeof value !== "number" || !Number.isInteger(value)) {
    throw invalidArgument(`${name} must be an integer.`);
  }
  return value;
}

function jsonOf(value: unknown): string {
  return JSON.stringify(value ?? null);
}
