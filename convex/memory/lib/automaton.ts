/** Automata that look for a pattern in a text, in time that grows with the text only. */
import { limitExceeded } from "../../lib/errors";

/** Longest text a pattern is tried on; it bounds what one record can cost. */
export const TEXT_CHARS_MAX = 65_536;
/** Remembered moves of one automaton; forgotten all at once when there are more. */
const TRANSITIONS_MAX = 4096;

/** Whether a step takes a character. */
export type Test = (character: string) => boolean;

/**
 * One state: takes a character that passes `test`, or moves on for free to `to`; with `at`, the
 * free move is open only at that end of the text.
 */
export type Step = {
  readonly test?: Test;
  readonly to: readonly number[];
  readonly at?: "^" | "$";
};

/** A set of states, with the moves that lead on from it. */
type Position = {
  readonly states: ReadonlySet<number>;
  readonly accepts: boolean;
  readonly moves: Map<string, Position>;
};

/** A compiled pattern; made by `compilePattern`. */
export class Pattern {
  private readonly positions = new Map<string, Position>();
  private readonly first: Position;
  private readonly again: ReadonlySet<number>;
  private transitions = 0;

  constructor(
    private readonly steps: readonly Step[],
    start: number,
  ) {
    this.first = this.position(this.close([start], "^"));
    this.again = this.close([start]);
  }

  /**
   * Whether the pattern occurs anywhere in a text.
   *
   * @throws `limit_exceeded` when the text has more than 65,536 characters.
   */
  foundIn(text: string): boolean {
    if (text.length > TEXT_CHARS_MAX) {
      throw limitExceeded(
        `A pattern met a text of ${text.length} characters; it is tried on at most ` +
          `${TEXT_CHARS_MAX}. Filter on a shorter field.`,
      );
    }
    let current = this.first;
    for (const character of text) {
      if (current.accepts) return true;
      current = current.moves.get(character) ?? this.move(current, character);
    }
    return current.accepts || this.close(current.states, "$").has(this.steps.length);
  }

  private move(from: Position, character: string): Position {
    const reached: number[] = [];
    for (const state of from.states) {
      const step = this.steps[state];
      if (step?.test?.(character) === true) reached.push(...step.to);
    }
    // A match may begin at every character, so the start is always among the states.
    const states = this.close(reached);
    for (const state of this.again) states.add(state);
    if (this.transitions >= TRANSITIONS_MAX) {
      this.transitions = 0;
      this.first.moves.clear();
      this.positions.clear();
    }
    const to = this.position(states);
    from.moves.set(character, to);
    this.transitions += 1;
    return to;
  }

  private position(states: ReadonlySet<number>): Position {
    const key = [...states].sort((left, right) => left - right).join(",");
    const known = this.positions.get(key);
    if (known !== undefined) return known;
    const made = { states, accepts: states.has(this.steps.length), moves: new Map() };
    this.positions.set(key, made);
    return made;
  }

  private close(from: Iterable<number>, end?: "^" | "$"): Set<number> {
    const closed = new Set<number>();
    const waiting = [...from];
    for (let state = waiting.pop(); state !== undefined; state = waiting.pop()) {
      if (closed.has(state)) continue;
      closed.add(state);
      const step = this.steps[state];
      // States behind an anchor stay in the set: at the end of the text `$` is asked again.
      if (step !== undefined && step.test === undefined && (step.at ?? end) === end) {
        waiting.push(...step.to);
      }
    }
    return closed;
  }
}
