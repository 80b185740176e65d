/**
 * Rows with everything that is derived from them: counts, search texts, what waits to be embedded,
 * native vectors, numbered changes.
 *
 * Every mutation of Convex Memory writes through here, those of the wire protocol too, so that
 * what a Mastra app writes is counted, searched and followed like what `memory/*` writes.
 */
import type { Doc, Id } from "../../_generated/dataModel";
import type { MutationCtx } from "../../_generated/server";
import { isFollowed } from "../../lib/changes";
import { WritableDocuments, withoutSystemFields } from "../../lib/documents";
import type { MemoryTable } from "../../lib/tables";
import type { UncheckedObject } from "../../lib/values";
import { addToCount, dropCount, keys } from "./counts";
import { followVector } from "./embeddingQueue";
import { expireFirst } from "./forgetting";
import { numberSoon } from "./history";
import {
  type Deleted,
  follow,
  followChange,
  forgetLater,
  forgetNotes,
  unfollow,
} from "./messageFollowing";
import { mirror, unmirror } from "./nativeVectors";
import { goneUpTo, vectorsGoneUpTo } from "./removals";

type Row = Readonly<UncheckedObject>;

type Message = Doc<"mastra_messages">;
type Vector = Doc<"mastra_vectors">;

/** The counts that a row of a table is in. */
const COUNTED: Partial<Record<MemoryTable, (row: Row) => (string | undefined)[]>> = {
  mastra_threads: (row) => [keys.threads, named(keys.threadsOf, row["resourceId"])],
  mastra_messages: (row) => [
    keys.messages,
    named(keys.messagesOf, row["resourceId"]),
    named(keys.messagesIn, row["thread_id"]),
  ],
  mastra_resources: () => [keys.resources],
  mastra_vectors: (row) => [keys.vectors, named(keys.vectorsIn, row["indexName"])],
  mastra_cache: () => [keys.cacheKeys],
  memory_embedding_queue: (row) => [named(keys.waitingIn, row["indexName"])],
};
/** Tables whose rows go with their index. */
const OF_INDEXES: ReadonlySet<MemoryTable> = new Set<MemoryTable>([
  "mastra_vectors",
  "memory_embedding_queue",
  "memory_kept_texts",
]);

function named(key: (id: string) => string, id: unknown): string | undefined {
  return typeof id === "string" ? key(id) : undefined;
}

/** The rows of one mutation. `settle` has to be called when it has written what it writes. */
export class FollowedDocuments extends WritableDocuments {
  readonly #context: MutationCtx;
  readonly #counts = new Map<string, number>();
  readonly #deleted: Deleted[] = [];
  #changes = 0;

  constructor(context: MutationCtx) {
    super(context.db);
    this.#context = context;
  }

  override async insert<Table extends MemoryTable>(
    table: Table,
    row: UncheckedObject,
  ): Promise<Id<Table>> {
    const id = await super.insert(table, row);
    this.#note(table, row, 1);
    if (table === "mastra_vectors") await mirror(this, row as Vector);
    if (table === "mastra_messages") {
      // What was noted of a message that had this id before may still be there.
      await forgetNotes(this, table, (row as Message).id);
      await follow(this, id as Id<"mastra_messages">, row as Message);
    }
    return id;
  }

  override async patch<Table extends MemoryTable>(
    table: Table,
    row: Doc<Table>,
    changes: UncheckedObject,
  ): Promise<Doc<Table>> {
    if (await this.isGone(table, row)) return await this.#replaceGone(table, row, changes);
    const after = await super.patch(table, row, changes);
    this.#note(table, row, -1);
    this.#note(table, after, 1);
    if (table === "mastra_vectors") {
      const [before, now] = [row, after] as unknown as [Vector, Vector];
      await mirror(this, now, before);
      await followVector(this, before, now);
    }
    if (table === "mastra_messages") {
      await followChange(this, row as unknown as Message, after as unknown as Message);
    }
    return after;
  }

  override async delete<Table extends MemoryTable>(table: Table, row: Doc<Table>): Promise<void> {
    const gone = await this.isGone(table, row);
    await super.delete(table, row);
    this.#note(table, row, -1, gone);
    const deleted: unknown = row;
    if (table === "mastra_vectors") {
      await unmirror(this, deleted as Vector);
      // What goes with its index takes its text with it.
      if (!gone) await followVector(this, deleted as Vector);
    } else if (table === "mastra_messages") {
      await this.#forgetMessage(deleted as Message);
    } else if (table === "mastra_threads") {
      await forgetNotes(this, table, (deleted as Doc<"mastra_threads">).id);
    }
  }

  async #forgetMessage({ _id: messageId, id }: Message): Promise<void> {
    if (this.isHalfDone) {
      this.#deleted.push({ messageId, id });
      return;
    }
    await unfollow(this, { messageId, id });
    await forgetNotes(this, "mastra_messages", id);
  }

  /** Whether a row only waits to be removed, and is as if it were not there. */
  async isGone<Table extends MemoryTable>(table: Table, row: Doc<Table>): Promise<boolean> {
    const upto = await this.#uptoOf(table, row);
    return upto !== undefined && row._creationTime <= upto;
  }

  /** Forget what is known of removals and the counts under a key: they have just changed. */
  async dropCount(key: string): Promise<void> {
    this.forget();
    this.#counts.delete(key);
    await dropCount(this, key);
  }

  /** Schedule one of the functions that go on with work a mutation cannot finish. */
  get scheduler(): MutationCtx["scheduler"] {
    return this.#context.scheduler;
  }

  /** Write the counts, and have the changes numbered. */
  async settle(): Promise<void> {
    for (const [key, difference] of this.#counts) {
      if (difference !== 0) await addToCount(this, key, difference);
    }
    this.#counts.clear();
    await forgetLater(this.scheduler, this.#deleted.splice(0));
    await numberSoon(this.scheduler, this.#changes);
    this.#changes = 0;
  }

  /** Add to some counts when this settles. */
  count(keysOfRow: Iterable<string>, difference = 1): void {
    for (const key of keysOfRow) {
      this.#counts.set(key, (this.#counts.get(key) ?? 0) + difference);
    }
  }

  #note(table: MemoryTable, row: Row, difference: 1 | -1, gone = false): void {
    if (isFollowed(table)) this.#changes += 1;
    // A removed thread's own count went with it, and so did a removed index's.
    this.count(countsOf(table, row).filter((key) => !(gone && isOwnCount(key))), difference);
  }

  async #uptoOf(table: MemoryTable, row: Row): Promise<number | undefined> {
    const { thread_id: threadId, indexName } = row;
    if (table === "mastra_messages" && typeof threadId === "string") {
      return await goneUpTo(this, threadId);
    }
    if (OF_INDEXES.has(table) && typeof indexName === "string") {
      return await vectorsGoneUpTo(this, indexName);
    }
    return undefined;
  }

  /** Writing to a row that waits to be removed makes a new one, which nothing waits to remove. */
  async #replaceGone<Table extends MemoryTable>(
    table: Table,
    row: Doc<Table>,
    changes: UncheckedObject,
  ): Promise<Doc<Table>> {
    const fields = withoutSystemFields({ ...(row as UncheckedObject), ...changes });
    await this.delete(table, row);
    const id = await this.insert(table, fields);
    const made = await this.get(table, id);
    if (made === null) throw new Error("A row just inserted is there.");
    return made;
  }
}

/** The counts that a row is in. */
export function countsOf(table: MemoryTable, row: Row): string[] {
  return (COUNTED[table]?.(row) ?? []).filter((key) => key !== undefined);
}

function isOwnCount(key: string): boolean {
  return [keys.messagesIn(""), keys.vectorsIn(""), keys.waitingIn("")].some((own) =>
    key.startsWith(own),
  );
}

/** Run a mutation on followed rows, without those that have expired; settle what it wrote. */
export async function following<Result>(
  context: MutationCtx,
  run: (documents: FollowedDocuments) => Promise<Result>,
): Promise<Result> {
  const documents = new FollowedDocuments(context);
  await expireFirst(documents);
  const result = await run(documents);
  await documents.settle();
  return result;
}
