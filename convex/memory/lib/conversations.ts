/** Messages as they stand in their conversations, as far as a search has read them. */
import type { Doc } from "../../_generated/dataModel";
import type { Documents } from "../../lib/documents";
import { milliseconds } from "./isoText";
import { readAfter } from "./rows";
import type { Neighbour } from "./windows";

/** What is searched of a message (`memory_message_texts`). */
export type Text = Doc<"memory_message_texts">;

/** A message and its place in its conversation. */
export class Turn implements Neighbour {
  before: Turn | null | undefined;
  after: Turn | null | undefined;
  readonly asks: boolean;
  readonly created: number;
  readonly #words: ReadonlySet<string>;
  #held: readonly boolean[] = [];

  constructor(
    readonly row: Text,
    /** Whether it is the caller's to search. */
    readonly inScope: boolean,
  ) {
    this.asks = row.asks === true;
    const created = milliseconds(row.createdAt);
    this.created = Number.isNaN(created) ? 0 : created;
    this.#words = new Set(row.text.split(" "));
  }

  /** Whether a word stands in it, in the form in which words are compared. */
  has(word: string): boolean {
    return this.inScope && this.#words.has(word);
  }

  /** Say which words are looked for: each is one of several that are the same. */
  look(words: readonly string[]): void {
    this.#held = words.map((word) => this.has(word));
  }

  holds(word: number): boolean {
    return this.#held[word] === true;
  }
}

/** The conversations that a search looks into. */
export class Conversations {
  readonly #turns = new Map<string, Turn>();
  readonly #start: number;
  /** Whether something was left unread because it would have been too much. */
  isCut = false;

  constructor(
    private readonly documents: Documents,
    private readonly isInScope: (row: Text) => boolean,
    private readonly bytesMax: number,
  ) {
    this.#start = documents.bytesRead;
  }

  /** Every message that is known. */
  get turns(): Turn[] {
    return [...this.#turns.values()];
  }

  /** The message of a row. */
  add(row: Text): Turn {
    const known = this.#turns.get(row._id);
    if (known !== undefined) return known;
    const turn = new Turn(row, this.isInScope(row));
    this.#turns.set(row._id, turn);
    return turn;
  }

  /** Read the messages around one, as far as they are not known. */
  async readAround(turn: Turn, reach: number): Promise<void> {
    await this.#extend(turn, "before", reach);
    await this.#extend(turn, "after", reach);
  }

  async #extend(turn: Turn, side: "before" | "after", reach: number): Promise<void> {
    const { last, left } = known(turn, side, reach);
    if (left === 0 || this.#isFull()) return;
    let [at, more] = [last, left];
    for await (const row of this.#beside(at, side)) {
      const next = this.add(row);
      at[side] = next;
      next[side === "before" ? "after" : "before"] = at;
      [at, more] = [next, more - 1];
      if (more === 0 || this.#isFull()) return;
    }
    at[side] = null;
  }

  #isFull(): boolean {
    this.isCut ||= this.documents.bytesRead - this.#start > this.bytesMax;
    return this.isCut;
  }

  #beside({ row }: Turn, side: "before" | "after"): AsyncGenerator<Text> {
    const slice = {
      index: "by_thread_created",
      equals: [row.threadId],
      field: "createdAt",
      descending: side === "before",
    };
    const place = { value: row.createdAt, created: row._creationTime, id: row._id };
    return readAfter(this.documents, "memory_message_texts", slice, place);
  }
}

/** The last message known on one side of another, and how many more are to be read. */
function known(
  turn: Turn,
  side: "before" | "after",
  reach: number,
): { last: Turn; left: number } {
  let [last, left] = [turn, reach];
  for (let next = last[side]; next !== undefined && left > 0; next = last[side]) {
    if (next === null) return { last, left: 0 };
    [last, left] = [next, left - 1];
  }
  return { last, left };
}
