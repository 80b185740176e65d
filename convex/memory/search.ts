/** `memory/search:*`: messages found by their words, and by their meaning. */
import { makeFunctionReference } from "convex/server";
import { type Value, v } from "convex/values";
import type { Doc } from "../_generated/dataModel";
import { internalAction, internalQuery } from "../_generated/server";
import { Documents } from "../lib/documents";
import { invalidArgument, limitExceeded } from "../lib/errors";
import {
  LOOKUPS_MAX,
  SEARCH_CANDIDATES_MAX,
  SEARCH_QUERY_CHARS_MAX,
  SEARCH_RESULTS_MAX,
  VECTOR_RESULTS_MAX,
} from "../lib/limits";
import { given, optionalText, text, vAny, vText, whole } from "./lib/arguments";
import { readCursor, writeCursor } from "./lib/cursors";
import { isoText, milliseconds } from "./lib/isoText";
import { type Conditions, type Found, search } from "./lib/lexical";
import { hasMetadata, metadataIn, type WantedMetadata } from "./lib/messageConditions";
import { marksOf, vMarks } from "./lib/notes";
import { inScope, isThere, vMessageDoc } from "./lib/rows";
import { tellingWords } from "./lib/searchWords";
import { scoresOf, similarMessages } from "./lib/semanticSearch";
import { vectorFor } from "./lib/vectorIndexes";
import type { Described } from "./lib/vectorSearch";

type Message = Doc<"mastra_messages">;
type Hit = { id: string; score: number; near?: true };

/** Bytes of messages after which a page ends early: the search has read as much before. */
const PAGE_BYTES_MAX = 3 << 20;
/** Look-ups after which a page ends early: the last message may take some more. */
const PAGE_LOOKUPS_MAX = LOOKUPS_MAX - 200;

const vNear = v.optional(v.literal(true));

/**
 * Return the messages that match a query best, a page at a time; with `idsOnly` their ids.
 *
 * `exhausted` is false also when there are more matches than one search looks at.
 */
export const messages = internalQuery({
  args: {
    query: v.string(),
    limit: v.number(),
    resourceId: vText,
    threadId: vText,
    role: vText,
    since: vText,
    until: vText,
    metadata: vAny,
    cursor: vText,
    idsOnly: given(v.boolean()),
  },
  returns: v.object({
    hits: v.union(
      v.array(v.object({ message: vMessageDoc, score: v.number(), near: vNear })),
      v.array(v.object({ id: v.string(), score: v.number(), near: vNear })),
    ),
    cursor: v.union(v.string(), v.null()),
    exhausted: v.boolean(),
    marks: vMarks,
  }),
  handler: async (ctx, args) => {
    const documents = new Documents(ctx.db);
    const idsOnly = args.idsOnly === true;
    const most = idsOnly ? SEARCH_CANDIDATES_MAX : SEARCH_RESULTS_MAX;
    const limit = whole(args.limit, "limit", 1, most);
    const query = queryIn(args.query);
    const words = tellingWords(query);
    const question = `search:${words.join(" ")}`;
    const [seen] = readCursor(args.cursor, question, ["number"]) ?? [0];
    const conditions: Conditions = {
      scope: optionalText(args.resourceId, "resourceId"),
      threadId: optionalText(args.threadId, "threadId"),
      role: optionalText(args.role, "role"),
      since: timeIn(args.since, "since"),
      until: timeIn(args.until, "until"),
    };
    const metadata = metadataIn(args.metadata as Value | undefined);
    if (words.length === 0) return { hits: [], cursor: null, exhausted: true, marks: [] };
    const { found, isComplete } = await search(ctx, documents, words, query, conditions);
    const page = await pageOf(documents, found.slice(Number(seen)), limit, (message) =>
      isMatch(documents, message, conditions.scope, metadata),
    );
    const cursor =
      page.next === undefined ? null : writeCursor(question, [Number(seen) + page.next]);
    const exhausted = cursor === null && isComplete;
    if (idsOnly) {
      const hits = page.hits.map(({ message: { id }, ...rest }) => ({ id, ...rest }));
      return { hits, cursor, exhausted, marks: [] };
    }
    const marks = await marksOf(
      documents,
      page.hits.map(({ message }) => message),
    );
    return { hits: page.hits, cursor, exhausted, marks };
  },
});

const DESCRIBE = makeFunctionReference<
  "query",
  { embedder: string; resourceId: string | null },
  Described
>("memory/searchRows:describe");

/** Return the messages whose vectors are most similar to one, and how similar others are. */
export const semantic = internalAction({
  args: {
    vector: v.any(),
    embedder: v.string(),
    limit: v.number(),
    ids: v.optional(v.union(v.array(v.string()), v.null())),
    resourceId: vText,
    threadId: vText,
    role: vText,
    since: vText,
    until: vText,
    metadata: vAny,
  },
  returns: v.object({
    hits: v.array(v.object({ id: v.string(), score: v.number() })),
    scores: v.array(v.array(v.union(v.string(), v.number()))),
    exhausted: v.boolean(),
    pending: v.number(),
  }),
  handler: async (ctx, args) => {
    const limit = whole(args.limit, "limit", 1, VECTOR_RESULTS_MAX);
    const resourceId = optionalText(args.resourceId, "resourceId") ?? null;
    const embedder = text(args.embedder, "embedder");
    const index = await ctx.runQuery(DESCRIBE, { embedder, resourceId });
    const vector = vectorFor(args.vector, "vector", index);
    const ids = args.ids ?? [];
    if (ids.length > VECTOR_RESULTS_MAX) {
      throw invalidArgument(`ids must be an array of at most ${VECTOR_RESULTS_MAX} ids.`);
    }
    const { hits, exhausted } = await similarMessages(ctx, {
      index,
      vector,
      limit,
      filter: vectorFilter(args),
      resourceId,
      metadata: metadataIn(args.metadata as Value | undefined),
    });
    const scores = await scoresOf(ctx, { indexName: index.indexName, vector, ids });
    return { hits, scores, exhausted, pending: index.pending };
  },
});

// --- Arguments

/** What a search by meaning asks of the metadata of vectors. */
function vectorFilter(args: Readonly<Record<string, unknown>>): Value {
  const conditions: Value[] = [];
  for (const [name, field] of [
    ["resourceId", "resource_id"],
    ["threadId", "thread_id"],
    ["role", "role"],
  ] as const) {
    const value = optionalText(args[name] as string | null | undefined, name);
    if (value !== undefined) conditions.push(["eq", field, value]);
  }
  for (const [name, operator] of [
    ["since", "gte"],
    ["until", "lt"],
  ] as const) {
    const value = optionalText(args[name] as string | null | undefined, name);
    if (value !== undefined) conditions.push([operator, "created_at", isoText(value, name)]);
  }
  return ["and", conditions];
}

function queryIn(query: string): string {
  if (text(query, "query").length > SEARCH_QUERY_CHARS_MAX) {
    throw limitExceeded(
      `query has ${query.length.toLocaleString("en-US")} characters; at most ` +
        `${SEARCH_QUERY_CHARS_MAX.toLocaleString("en-US")} are searched for. Ask with the words ` +
        "that matter.",
    );
  }
  return query;
}

function timeIn(value: string | null | undefined, name: string): number | undefined {
  const given = optionalText(value, name);
  return given === undefined ? undefined : milliseconds(isoText(given, name));
}

// --- Pages

/**
 * The first matches that may be seen.
 *
 * @returns Them, and the place of the one to go on with; undefined at the end.
 */
async function pageOf(
  documents: Documents,
  found: readonly Found[],
  limit: number,
  mayBeSeen: (message: Message) => Promise<boolean>,
): Promise<{ hits: (Omit<Hit, "id"> & { message: Message })[]; next: number | undefined }> {
  const hits: (Omit<Hit, "id"> & { message: Message })[] = [];
  const start = documents.bytesRead;
  for (const [at, { row, score, near }] of found.entries()) {
    // A page ends early rather than be too large; whether there is more, the next one tells.
    const isLarge =
      documents.bytesRead - start > PAGE_BYTES_MAX || documents.lookups > PAGE_LOOKUPS_MAX;
    const message = isLarge ? null : await documents.get("mastra_messages", row.messageId);
    // A text may outlive its message for a moment.
    const isSeen = message !== null && (await mayBeSeen(message));
    if (isLarge || (isSeen && hits.length >= limit)) return { hits, next: at };
    if (isSeen) hits.push({ message, score, ...(near ? { near } : {}) });
  }
  return { hits, next: undefined };
}

async function isMatch(
  documents: Documents,
  message: Message,
  scope: string | undefined,
  metadata: WantedMetadata,
): Promise<boolean> {
  if (!hasMetadata(message, metadata) || !(await isThere(documents, message))) return false;
  const { resourceId, thread_id: threadId } = message;
  if (scope === undefined) return true;
  if (resourceId !== undefined) return resourceId === scope;
  return await documents.remembered(`in scope ${threadId}`, () =>
    inScope(documents, message, scope),
  );
}
