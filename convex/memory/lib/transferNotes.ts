/**
 * What is noted of rows beside them, and moves with them.
 *
 * - `mastra_messages`: `expiresAt`, `threadExpiresAt` (milliseconds), `supersededBy` (an id)
 * - `mastra_threads`: `expiresAt`
 * - `mastra_vector_indexes`: `embedder`, which makes its vectors of texts; `ofMessages`
 * - `mastra_vectors`: `embedder`; `text`, from which the vector was made
 */
import type { Doc } from "../../_generated/dataModel";
import type { Documents } from "../../lib/documents";
import { invalidArgument } from "../../lib/errors";
import { EMBED_TEXT_CHARS_MAX } from "../../lib/limits";
import { present } from "../../lib/values";
import {
  bind,
  type Binding,
  bindingOf,
  dequeue,
  keepText,
  keptText,
  messageBinding,
} from "./embeddingQueue";
import type { FollowedDocuments } from "./followed";
import { searchAnew, supersede } from "./messageFollowing";
import { note, noteOf, superseded, supersededBy } from "./notes";
import { enqueueAll } from "./queueing";
import type { MovedTable } from "./transferTables";
import { findVector } from "./vectorIndexes";

/** What is noted of one row. */
export type Notes = {
  readonly expiresAt?: number;
  readonly threadExpiresAt?: number;
  readonly supersededBy?: string;
  readonly embedder?: string;
  readonly ofMessages?: boolean;
  readonly text?: string;
};

const KINDS: Partial<Record<MovedTable, Readonly<Record<string, string>>>> = {
  mastra_messages: { expiresAt: "number", threadExpiresAt: "number", supersededBy: "string" },
  mastra_threads: { expiresAt: "number" },
  mastra_vector_indexes: { embedder: "string", ofMessages: "boolean" },
  mastra_vectors: { embedder: "string", text: "string" },
};

/** Everything that may be noted. */
export const NOTES = [...new Set(Object.values(KINDS).flatMap((kinds) => Object.keys(kinds)))];

/**
 * Notes that a row of a table may have.
 *
 * @throws `invalid_argument` when one is not known, or not of its type.
 */
export function checkedNotes(table: string, notes: Readonly<Record<string, unknown>>): Notes {
  const kinds = KINDS[table as MovedTable] ?? {};
  for (const [name, value] of Object.entries(notes)) {
    if (!Object.hasOwn(kinds, name) || typeof value !== kinds[name]) {
      throw invalidArgument(`The note ${name} of a row of ${table} is none, or wrong.`);
    }
  }
  const { text } = notes as Notes;
  if (text !== undefined && text.length > EMBED_TEXT_CHARS_MAX) {
    const most = EMBED_TEXT_CHARS_MAX.toLocaleString("en-US");
    throw invalidArgument(`A text has at most ${most} characters.`);
  }
  return notes as Notes;
}

/** Whether a row has expired, or the thread it is in. */
export function isOver({ expiresAt, threadExpiresAt }: Notes): boolean {
  const now = Date.now();
  return (expiresAt ?? now + 1) <= now || (threadExpiresAt ?? now + 1) <= now;
}

// --- Reading

/** What is noted of a row. */
export async function notesOf(
  documents: Documents,
  table: MovedTable,
  row: Readonly<Record<string, unknown>>,
): Promise<Notes> {
  switch (table) {
    case "mastra_messages":
      return await notesOfMessage(documents, row as unknown as Doc<"mastra_messages">);
    case "mastra_threads": {
      const { id } = row as unknown as Doc<"mastra_threads">;
      return given({ expiresAt: (await noteOf(documents, table, id))?.expiresAt });
    }
    case "mastra_vector_indexes": {
      const { indexName } = row as unknown as Doc<"mastra_vector_indexes">;
      const bound = await boundIndex(documents, indexName);
      if (bound === null) return {};
      return { embedder: bound.embedder, ofMessages: bound.use === "messages" };
    }
    case "mastra_vectors": {
      const { indexName, id } = row as unknown as Doc<"mastra_vectors">;
      const bound = await boundIndex(documents, indexName);
      if (bound === null) return {};
      const text = bound.use === "texts" ? await keptText(documents, indexName, id) : undefined;
      return given({ embedder: bound.embedder, text });
    }
    default:
      return {};
  }
}

async function notesOfMessage(
  documents: Documents,
  { id, thread_id: threadId }: Doc<"mastra_messages">,
): Promise<Notes> {
  const noted = await noteOf(documents, "mastra_messages", id);
  const threadExpiresAt = await documents.remembered(
    `thread expires ${threadId}`,
    async () => (await noteOf(documents, "mastra_threads", threadId))?.expiresAt,
  );
  return given({
    expiresAt: noted?.expiresAt,
    threadExpiresAt,
    supersededBy: noted?.supersededBy,
  });
}

function given(notes: { [name in keyof Notes]: Notes[name] | undefined }): Notes {
  return present(notes) as Notes;
}

/** What an index is bound to, or null; one that held vectors of messages before is not. */
export async function boundIndex(documents: Documents, indexName: string): Promise<Binding | null> {
  const bound = await bindingOf(documents, indexName);
  return bound?.use === "retired" ? null : bound;
}

/** Whether an earlier embedder made a vector, so that it waits to be made anew. */
export async function isStale(
  documents: Documents,
  { indexName, _creationTime: created }: Pick<Doc<"mastra_vectors">, "indexName" | "_creationTime">,
): Promise<boolean> {
  const bound = await bindingOf(documents, indexName);
  return bound !== null && (bound.use === "retired" || created <= bound.after);
}

// --- Writing

/** Note of a message what is said, and nothing else. */
export async function markMessage(
  documents: FollowedDocuments,
  id: string,
  { expiresAt, supersededBy: successor }: Notes,
): Promise<void> {
  await note(documents, "mastra_messages", id, { expiresAt });
  if (successor === (await supersededBy(documents, id))) return;
  if (successor !== undefined) {
    await supersede(documents, id, successor);
    return;
  }
  await note(documents, "mastra_messages", id, { supersededBy: undefined });
  await searchAnew(documents, id);
}

/**
 * Store a message with what is noted of it, and have it take the places that it took.
 *
 * @param documents The mutation's rows.
 * @param id The message.
 * @param notes What is noted of it.
 * @param insert Stores it. That forgets which messages one with this id superseded.
 */
export async function insertMarked(
  documents: FollowedDocuments,
  id: string,
  notes: Notes,
  insert: () => Promise<void>,
): Promise<void> {
  const older = await superseded(documents, id);
  await insert();
  for (const oldId of older) await supersede(documents, oldId, id);
  await markMessage(documents, id, notes);
  await messageArrived(documents, id);
}

/** Note of a thread what is said, and nothing else. */
export async function markThread(
  documents: FollowedDocuments,
  id: string,
  { expiresAt }: Notes,
): Promise<void> {
  await note(documents, "mastra_threads", id, { expiresAt });
}

/** Bind an index without vectors to the embedder of those that are to come. */
export async function bindIndex(
  documents: FollowedDocuments,
  index: { readonly indexName: string; readonly dimension: number },
  embedder: string,
  ofMessages: boolean,
): Promise<void> {
  const { indexName, dimension } = index;
  const use = ofMessages ? "messages" : "texts";
  const bound = await bind(documents, { indexName, dimension, embedder, use });
  await enqueueAll(documents, bound);
}

/** Note that a vector need not be made any more, and the text that it was made from. */
export async function vectorArrived(
  documents: FollowedDocuments,
  { indexName, id }: Pick<Doc<"mastra_vectors">, "indexName" | "id">,
  { text }: Notes,
): Promise<void> {
  const bound = await boundIndex(documents, indexName);
  if (bound === null) return;
  if (text !== undefined && bound.use === "texts") await keepText(documents, indexName, id, text);
  await dequeue(documents, indexName, id);
}

/** Note that a message need not be embedded whose vector has come before it. */
async function messageArrived(documents: FollowedDocuments, id: string): Promise<void> {
  const bound = await messageBinding(documents);
  if (bound === null) return;
  const vector = await findVector(documents, bound.indexName, id);
  if (vector === null || (await isStale(documents, vector))) return;
  if (await documents.isGone("mastra_vectors", vector)) return;
  await dequeue(documents, bound.indexName, id);
}
