/** The messages of one thread, in the order in which they were said. */
import type { Doc } from "../../_generated/dataModel";
import type { Documents } from "../../lib/documents";
import { isThere, type Place, readAfter } from "./rows";

type Message = Doc<"mastra_messages">;

/** Which messages of a thread, and in which direction. */
export type Reading = {
  readonly descending: boolean;
  readonly after?: Place | null;
  readonly since?: string | undefined;
  readonly until?: string | undefined;
};

/** The place of a message in its thread. */
export function placeOf(message: Message): Place {
  return { value: message.createdAt, created: message._creationTime, id: message._id };
}

/** The messages of a thread by date, then creation; those that are gone left out. */
export async function* messagesOf(
  documents: Documents,
  threadId: string,
  { descending, after = null, since, until }: Reading,
): AsyncGenerator<Message> {
  const slice = {
    index: "by_thread_created",
    equals: [threadId],
    field: "createdAt",
    descending,
    since,
    until,
  };
  for await (const message of readAfter(documents, "mastra_messages", slice, after)) {
    if (await isThere(documents, message)) yield message;
  }
}

/** The messages just before and just after one, each list oldest first. */
export async function neighbours(
  documents: Documents,
  message: Message,
  before: number,
  after: number,
): Promise<{ earlier: Message[]; later: Message[] }> {
  const place = placeOf(message);
  const read = async (count: number, descending: boolean) =>
    await taken(messagesOf(documents, message.thread_id, { descending, after: place }), count);
  return { earlier: (await read(before, true)).reverse(), later: await read(after, false) };
}

/** The first of some messages. */
export async function taken(
  messages: AsyncIterable<Message>,
  count: number,
): Promise<Message[]> {
  const found: Message[] = [];
  if (count <= 0) return found;
  for await (const message of messages) {
    found.push(message);
    if (found.length >= count) break;
  }
  return found;
}
