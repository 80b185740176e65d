/** Copying a thread with its messages, or some of them. */
import type { Doc } from "../../_generated/dataModel";
import { withoutSystemFields } from "../../lib/documents";
import { conflict, limitExceeded } from "../../lib/errors";
import { CLONE_MESSAGES_MAX } from "../../lib/limits";
import type { UncheckedObject } from "../../lib/values";
import { setExpiry } from "./expiries";
import type { FollowedDocuments } from "./followed";
import { supersede } from "./messageFollowing";
import { marksOf } from "./notes";
import { findMessage, threadNamed } from "./rows";
import { messagesOf, taken } from "./threadMessages";
import { threadInTheWay } from "./threadRemoval";

type Message = Doc<"mastra_messages">;
type Thread = Doc<"mastra_threads">;

/** What to copy, and as what. */
export type Cloning = {
  readonly threadId: string;
  /** The resource the thread has to belong to. */
  readonly scope: string | undefined;
  readonly newThreadId: string;
  readonly newResourceId: string | undefined;
  readonly title: string | undefined;
  readonly metadata: UncheckedObject;
  /** Only the newest so many. */
  readonly limit: number | undefined;
  /** Only these, unless empty. */
  readonly messageIds: readonly string[];
  /** Only those of this span, both ends included. */
  readonly since: string | undefined;
  readonly until: string | undefined;
  readonly now: string;
};

/**
 * Copy a thread.
 *
 * @returns The new thread, and each message's old and new id.
 * @throws `not_found` when there is no such thread, `conflict` when the new one exists,
 *   `limit_exceeded` when it would have too many messages.
 */
export async function cloneThread(
  documents: FollowedDocuments,
  cloning: Cloning,
): Promise<{ thread: Thread; messageIds: string[][] }> {
  const { newThreadId, newResourceId } = cloning;
  const source = await threadNamed(documents, cloning.threadId, cloning.scope);
  if ((await threadInTheWay(documents, newThreadId)) !== null) {
    throw conflict(`Thread with id ${newThreadId} already exists`);
  }
  const messages = await messagesToClone(documents, source.id, cloning);
  await documents.insert("mastra_threads", clonedThread(source, messages, cloning));
  const messageIds: string[][] = [];
  for (const message of messages) {
    const id: string = crypto.randomUUID();
    await documents.insert("mastra_messages", {
      ...withoutSystemFields(message),
      ...(newResourceId === undefined ? {} : { resourceId: newResourceId }),
      id,
      thread_id: newThreadId,
    });
    messageIds.push([message.id, id]);
  }
  await cloneMarks(documents, new Map(messageIds as [string, string][]));
  return { thread: await threadNamed(documents, newThreadId, undefined), messageIds };
}

/** Have copies expire as their originals do, and supersede the copies of what those do. */
async function cloneMarks(
  documents: FollowedDocuments,
  newIds: ReadonlyMap<string, string>,
): Promise<void> {
  for (const { id, expiresAt, supersededBy } of await marksOf(documents, idsOf(newIds))) {
    const newId = newIds.get(id);
    if (newId === undefined) continue;
    if (expiresAt !== undefined) {
      await setExpiry(documents, "mastra_messages", newId, expiresAt);
    }
    const successor = supersededBy === undefined ? undefined : newIds.get(supersededBy);
    if (successor !== undefined) await supersede(documents, newId, successor);
  }
}

function idsOf(newIds: ReadonlyMap<string, string>): { id: string }[] {
  return Array.from(newIds.keys(), (id) => ({ id }));
}

function clonedThread(source: Thread, messages: readonly Message[], cloning: Cloning) {
  const last = messages.at(-1);
  const origin = {
    sourceThreadId: source.id,
    clonedAt: cloning.now,
    ...(last === undefined ? {} : { lastMessageId: last.id }),
  };
  const title = source.title === "" ? "" : `Clone of ${source.title}`;
  return {
    id: cloning.newThreadId,
    resourceId: cloning.newResourceId ?? source.resourceId,
    title: cloning.title ?? title,
    metadata: { ...cloning.metadata, clone: origin },
    createdAt: cloning.now,
    updatedAt: cloning.now,
  };
}

/** The messages to copy, oldest first. */
async function messagesToClone(
  documents: FollowedDocuments,
  threadId: string,
  { limit, messageIds, since, until }: Cloning,
): Promise<Message[]> {
  // One more than can be copied, to know that there are too many.
  const most = Math.min(limit ?? CLONE_MESSAGES_MAX + 1, CLONE_MESSAGES_MAX + 1);
  let newest: Message[];
  if (messageIds.length > 0) {
    const named = await messagesNamed(documents, threadId, messageIds);
    const wanted = named.filter(({ createdAt }) => isWithin(createdAt, since, until));
    newest = wanted.sort((left, right) => -inOrder(left, right)).slice(0, most);
  } else {
    const read = messagesOf(documents, threadId, { descending: true, since });
    newest = await taken(until === undefined ? read : upTo(read, until), most);
  }
  if (newest.length > CLONE_MESSAGES_MAX) {
    throw limitExceeded(
      `The clone would have more than ${CLONE_MESSAGES_MAX} messages; at most ` +
        `${CLONE_MESSAGES_MAX} are copied in one transaction. Give messageLimit to copy the ` +
        "newest.",
    );
  }
  return newest.reverse();
}

async function messagesNamed(
  documents: FollowedDocuments,
  threadId: string,
  ids: readonly string[],
): Promise<Message[]> {
  const found: Message[] = [];
  for (const id of new Set(ids)) {
    const message = await findMessage(documents, id, undefined);
    if (message !== null && message.thread_id === threadId) found.push(message);
  }
  return found;
}

async function* upTo(messages: AsyncIterable<Message>, until: string): AsyncGenerator<Message> {
  for await (const message of messages) if (message.createdAt <= until) yield message;
}

function isWithin(createdAt: string, since?: string, until?: string): boolean {
  return (since === undefined || createdAt >= since) && (until === undefined || createdAt <= until);
}

function inOrder(left: Message, right: Message): number {
  if (left.createdAt !== right.createdAt) return left.createdAt < right.createdAt ? -1 : 1;
  return left._creationTime - right._creationTime;
}
