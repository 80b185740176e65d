/** `memory/search:messages`: full-text search over messages. */
import { type Value, v } from "convex/values";
import type { Doc } from "../_generated/dataModel";
import { internalQuery, type QueryCtx } from "../_generated/server";
import { Documents } from "../lib/documents";
import { invalidArgument, limitExceeded } from "../lib/errors";
import { SEARCH_QUERY_CHARS_MAX, SEARCH_RESULTS_MAX } from "../lib/limits";
import { isObject } from "../lib/values";
import { optionalText, text, vAny, vText, whole } from "./lib/arguments";
import { equal } from "./lib/conditions";
import { readCursor, writeCursor } from "./lib/cursors";
import { ranked } from "./lib/ranking";
import { goneUpTo } from "./lib/removals";
import { inScope, PAGE_BYTES_MAX, vMessageDoc } from "./lib/rows";
import { LAST_TERM, termsOf } from "./lib/searchWords";

/** Messages that one search looks at; Convex ends a search with an error at 1,024. */
const CANDIDATES_MAX = 1000;
/** Bytes of their texts. */
const CANDIDATE_BYTES_MAX = 6 << 20;

type Candidate = Doc<"memory_message_texts">;
type Message = Doc<"mastra_messages">;
type Hit = { message: Message; score: number };

/** What a match must satisfy. */
type Conditions = {
  readonly scope: string | undefined;
  readonly threadId: string | undefined;
  readonly role: string | undefined;
  readonly since: string | undefined;
  readonly until: string | undefined;
  readonly metadata: Readonly<Record<string, Value>>;
};

/**
 * Return the messages that match a query best, a page at a time.
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
  },
  returns: v.object({
    hits: v.array(v.object({ message: vMessageDoc, score: v.number() })),
    cursor: v.union(v.string(), v.null()),
    exhausted: v.boolean(),
  }),
  handler: async (ctx, args) => {
    const documents = new Documents(ctx.db);
    const limit = whole(args.limit, "limit", 1, SEARCH_RESULTS_MAX);
    const terms = termsOf(queryIn(args.query));
    const question = `search:${terms.join(" ")}`;
    const [seen] = readCursor(args.cursor, question, ["number"]) ?? [0];
    const conditions: Conditions = {
      scope: optionalText(args.resourceId, "resourceId"),
      threadId: optionalText(args.threadId, "threadId"),
      role: optionalText(args.role, "role"),
      since: optionalText(args.since, "since"),
      until: optionalText(args.until, "until"),
      metadata: metadataIn(args.metadata as Value | undefined),
    };
    if (terms.length === 0) return { hits: [], cursor: null, exhausted: true };
    const { candidates, isComplete } = await candidatesFor(ctx, documents, terms, conditions);
    const best = ranked(candidates, terms);
    const start = documents.bytesRead;
    const hits: Hit[] = [];
    // The cursor is a place among the candidates, so that what was looked at is not read again.
    for (let at = Number(seen); at < best.length; at += 1) {
      const { candidate, score } = best[at]!;
      const isLarge = documents.bytesRead - start > PAGE_BYTES_MAX;
      const message = isLarge ? null : await matching(ctx, documents, candidate, conditions);
      // A page ends early rather than be too large; whether there is more, the next one tells.
      if (isLarge || (message !== null && hits.length >= limit)) {
        return { hits, cursor: writeCursor(question, [at]), exhausted: false };
      }
      if (message !== null) hits.push({ message, score });
    }
    return { hits, cursor: null, exhausted: isComplete };
  },
});

// --- Arguments

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

function metadataIn(metadata: Value | undefined): Record<string, Value> {
  if (metadata === undefined || metadata === null) return {};
  if (!isObject(metadata)) {
    throw invalidArgument("metadata must be an object of the values to match.");
  }
  return metadata as Record<string, Value>;
}

// --- Candidates

/** The texts that the search index finds, as far as one search may look. */
async function candidatesFor(
  ctx: QueryCtx,
  documents: Documents,
  terms: readonly string[],
  conditions: Conditions,
): Promise<{ candidates: Candidate[]; isComplete: boolean }> {
  const { scope, threadId } = conditions;
  // A message without a resource of its own is its thread's, which the index does not know.
  const resources = scope === undefined || threadId !== undefined ? [null] : [scope, undefined];
  const candidates: Candidate[] = [];
  const start = documents.bytesRead;
  for (const resource of resources) {
    for await (const candidate of searched(ctx, documents, terms, conditions, resource)) {
      const isFull =
        candidates.length >= CANDIDATES_MAX || documents.bytesRead - start > CANDIDATE_BYTES_MAX;
      if (isFull) return { candidates, isComplete: false };
      candidates.push(candidate);
    }
  }
  return { candidates, isComplete: true };
}

/** Search once; `resource` null asks for no resource, undefined for those that have none. */
async function* searched(
  ctx: QueryCtx,
  documents: Documents,
  terms: readonly string[],
  { threadId, role }: Conditions,
  resource: string | undefined | null,
): AsyncGenerator<Candidate> {
  const query = [...terms, LAST_TERM].join(" ");
  documents.countLookup();
  const found = ctx.db.query("memory_message_texts").withSearchIndex("search_text", (q) => {
    let narrowed = q.search("text", query);
    if (threadId !== undefined) narrowed = narrowed.eq("threadId", threadId);
    if (role !== undefined) narrowed = narrowed.eq("role", role);
    return resource === null ? narrowed : narrowed.eq("resourceId", resource);
  });
  for await (const candidate of found) {
    documents.countRow(candidate);
    yield candidate;
  }
}

/** The message of a candidate, or null when it may not be seen or is not what was asked for. */
async function matching(
  ctx: QueryCtx,
  documents: Documents,
  candidate: Candidate,
  { scope, since, until, metadata }: Conditions,
): Promise<Message | null> {
  const { createdAt } = candidate;
  if ((since !== undefined && createdAt < since) || (until !== undefined && createdAt >= until)) {
    return null;
  }
  documents.countLookup();
  const message = await ctx.db.get("mastra_messages", candidate.messageId);
  // A text may outlive its message for a moment.
  if (message === null) return null;
  documents.countRow(message);
  const upto = await goneUpTo(documents, message.thread_id);
  if (upto !== undefined && message._creationTime <= upto) return null;
  if (!(await inScope(documents, message, scope))) return null;
  return hasMetadata(message.content, metadata) ? message : null;
}

function hasMetadata(content: string, wanted: Readonly<Record<string, Value>>): boolean {
  const members = Object.entries(wanted);
  if (members.length === 0) return true;
  let metadata: unknown;
  try {
    metadata = (JSON.parse(content) as { metadata?: unknown } | null)?.metadata;
  } catch {
    return false;
  }
  if (!isObject(metadata)) return false;
  return members.every(
    ([name, value]) => Object.hasOwn(metadata, name) && equal(metadata[name] as Value, value),
  );
}
