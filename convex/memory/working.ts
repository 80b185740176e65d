/**
 * `memory/working:*`: the working memory of a resource, or of one thread.
 *
 * It stands where Mastra keeps it: in the resource's `workingMemory`, or in the thread's metadata
 * under that name. Reading, changing and writing it is one transaction.
 */
import { v } from "convex/values";
import { internalMutation, internalQuery } from "../_generated/server";
import { Documents } from "../lib/documents";
import { invalidArgument } from "../lib/errors";
import { asObject, mergedWithoutNulls } from "../lib/metadata";
import { isObject, type UncheckedObject } from "../lib/values";
import { choice, nowIso, optionalText, text, vText } from "./lib/arguments";
import { following } from "./lib/followed";
import { jsonText } from "./lib/jsonText";
import { threadNamed } from "./lib/rows";

type Mode = "replace" | "append" | "merge";
type Stored = { workingMemory: string | null; updatedAt: string | null };

/** Return the working memory, or null where there is none yet. */
export const get = internalQuery({
  args: { resourceId: v.string(), threadId: vText },
  returns: v.object({
    workingMemory: v.union(v.string(), v.null()),
    updatedAt: v.union(v.string(), v.null()),
  }),
  handler: async (ctx, args) => {
    const resourceId = text(args.resourceId, "resourceId");
    const threadId = optionalText(args.threadId, "threadId");
    return await storedIn(new Documents(ctx.db), resourceId, threadId);
  },
});

/** Replace, extend or merge the working memory. */
export const update = internalMutation({
  args: { resourceId: v.string(), text: v.string(), threadId: vText, mode: vText, now: vText },
  returns: v.object({ workingMemory: v.string(), updatedAt: v.string() }),
  handler: async (ctx, args) =>
    await following(ctx, async (documents) => {
      const mode = choice<Mode>(args.mode, "mode", ["replace", "append", "merge"]);
      const resourceId = text(args.resourceId, "resourceId");
      const threadId = optionalText(args.threadId, "threadId");
      const stored = await storedIn(documents, resourceId, threadId);
      const workingMemory = changed(stored.workingMemory, args.text, mode);
      const updatedAt = nowIso(args.now);
      if (threadId !== undefined) {
        const thread = await threadNamed(documents, threadId, resourceId);
        const metadata = mergedWithoutNulls(thread.metadata, { workingMemory });
        await documents.patch("mastra_threads", thread, { metadata, updatedAt });
        return { workingMemory, updatedAt };
      }
      const row = await resourceNamed(documents, resourceId);
      if (row === null) {
        const created = { id: resourceId, metadata: {}, createdAt: updatedAt };
        await documents.insert("mastra_resources", { ...created, workingMemory, updatedAt });
      } else {
        await documents.patch("mastra_resources", row, { workingMemory, updatedAt });
      }
      return { workingMemory, updatedAt };
    }),
});

async function storedIn(
  documents: Documents,
  resourceId: string,
  threadId: string | undefined,
): Promise<Stored> {
  if (threadId !== undefined) {
    const thread = await threadNamed(documents, threadId, resourceId);
    const { workingMemory } = asObject(thread.metadata);
    return {
      workingMemory: typeof workingMemory === "string" ? workingMemory : null,
      updatedAt: thread.updatedAt,
    };
  }
  const row = await resourceNamed(documents, resourceId);
  return { workingMemory: row?.workingMemory ?? null, updatedAt: row?.updatedAt ?? null };
}

async function resourceNamed(documents: Documents, id: string) {
  return await documents.first("mastra_resources", { index: "by_record_id", equals: [id] });
}

function changed(stored: string | null, sent: string, mode: Mode): string {
  if (mode === "merge") {
    const before = stored ? objectIn(stored, "the stored working memory") : {};
    return jsonText(deepMerged(before, objectIn(sent, "text")));
  }
  return mode === "append" && stored ? `${stored.trimEnd()}\n${sent}` : sent;
}

function objectIn(json: string, what: string): UncheckedObject {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    value = undefined;
  }
  if (isObject(value)) return value;
  throw invalidArgument(
    `mode merge needs ${what} to be a JSON object. Use mode replace to store other text.`,
  );
}

function deepMerged(stored: UncheckedObject, sent: UncheckedObject): UncheckedObject {
  const result = new Map(Object.entries(stored));
  for (const [name, value] of Object.entries(sent)) {
    if (value === null) {
      result.delete(name);
    } else if (isObject(value)) {
      const inner = result.get(name);
      result.set(name, deepMerged(isObject(inner) ? inner : {}, value));
    } else {
      result.set(name, value);
    }
  }
  return Object.fromEntries(result);
}
