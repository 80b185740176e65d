/**
 * What is noted of messages and threads beside their rows (`memory_notes`), which keep Mastra's
 * shape: when they expire, and which other message took the place of one in what is searched.
 */
import { v } from "convex/values";
import type { Doc } from "../../_generated/dataModel";
import type { Documents, WritableDocuments } from "../../lib/documents";
import { readEach } from "../../lib/groups";

/** A table of whose rows something may be noted. */
export type NotedTable = Note["of"];
/** What is noted of one row. */
export type Note = Doc<"memory_notes">;

/** What may be noted; a member that is `undefined` takes the note away. */
export type Noted = { expiresAt?: number | undefined; supersededBy?: string | undefined };

/** What is noted of a message or a thread, or null. */
export async function noteOf(
  documents: Documents,
  table: NotedTable,
  id: string,
): Promise<Note | null> {
  if (!(await anything(documents))) return null;
  return await documents.first("memory_notes", { index: "by_record", equals: [table, id] });
}

/** The message that took the place of this one, or undefined. */
export async function supersededBy(documents: Documents, id: string): Promise<string | undefined> {
  return (await noteOf(documents, "mastra_messages", id))?.supersededBy;
}

/** The messages whose place this one took. */
export async function superseded(documents: Documents, newId: string): Promise<string[]> {
  const ids: string[] = [];
  if (!(await anything(documents))) return ids;
  const range = { index: "by_successor", equals: [newId] };
  for await (const { id } of documents.scan("memory_notes", range)) ids.push(id);
  return ids;
}

/** Note something of a message or a thread; what is not named stays. */
export async function note(
  documents: WritableDocuments,
  table: NotedTable,
  id: string,
  noted: Noted,
): Promise<void> {
  const found = await noteOf(documents, table, id);
  const { expiresAt, supersededBy: successor } = { ...found, ...noted };
  if (expiresAt !== undefined || successor !== undefined) {
    const row = { of: table, id, expiresAt, supersededBy: successor };
    await documents.upsert("memory_notes", row, found);
    documents.forget(ANYTHING);
    documents.forget("due");
  } else if (found !== null) {
    await documents.delete("memory_notes", found);
    documents.forget("due");
  }
}

/** What an answer tells of the messages in it. */
export const vMarks = v.array(
  v.object({
    id: v.string(),
    expiresAt: v.optional(v.number()),
    supersededBy: v.optional(v.string()),
  }),
);

/** What is noted of messages, where there is anything. */
export async function marksOf(
  documents: Documents,
  messages: readonly { readonly id: string }[],
): Promise<{ id: string; expiresAt?: number; supersededBy?: string }[]> {
  const notes = await readEach(messages, ({ id }) => noteOf(documents, "mastra_messages", id));
  const marks = [];
  for (const note of notes) {
    if (note === null) continue;
    const { id, expiresAt, supersededBy: by } = note;
    // What has expired supersedes nothing any more.
    const isCurrent = by !== undefined && !(await isDue(documents, "mastra_messages", by));
    const mark = {
      id,
      ...(expiresAt === undefined ? {} : { expiresAt }),
      ...(isCurrent ? { supersededBy: by } : {}),
    };
    if (expiresAt !== undefined || isCurrent) marks.push(mark);
  }
  return marks;
}

// --- What is due

/** Rows that have expired and are still there: most are gone on time, some a little later. */
const DUE_MAX = 1000;
/** Those of them that counting takes note of. */
const DUE_COUNTED_MAX = 200;

/** What has expired by now: the notes of it, the first to expire first. */
export async function dueNotes(documents: Documents): Promise<Note[]> {
  return await documents.remembered("due", async () => {
    if (!(await anything(documents))) return [];
    const range = { index: "by_expiry", gt: 0, lte: Date.now() };
    return await documents.take("memory_notes", range, DUE_MAX);
  });
}

/** The ids of messages that have expired and are counted still; there is rarely one. */
export async function dueMessages(documents: Documents): Promise<string[]> {
  const due = await dueNotes(documents);
  const messages = due.filter(({ of: table }) => table === "mastra_messages");
  return messages.slice(0, DUE_COUNTED_MAX).map(({ id }) => id);
}

/** Whether a message or a thread has expired, by itself. */
export async function isDue(documents: Documents, table: NotedTable, id: string): Promise<boolean> {
  const due = await dueNotes(documents);
  return due.some((each) => each.of === table && each.id === id);
}

const ANYTHING = "notes";

/** Whether there are notes at all: of most deployments there are none to look for. */
async function anything(documents: Documents): Promise<boolean> {
  return await documents.remembered(
    ANYTHING,
    async () => (await documents.first("memory_notes", {})) !== null,
  );
}
