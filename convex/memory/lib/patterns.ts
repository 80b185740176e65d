/**
 * Regular expressions that always finish; the same as `convex_memory/patterns.py`.
 *
 * Patterns come from callers, and a backtracking engine can be made to run for hours by thirty
 * characters. These are run as automata: time grows with the length of the text, whatever the
 * pattern. The syntax:
 *
 *     abc  .  [a-z]  [^a-z]  \d \D \w \W \s \S  \n \r \t \.
 *     ^  $  (ab|cd)  (?:ab)  x*  x+  x?  x{2}  x{2,}  x{2,5}
 *
 * `\d`, `\w` and `\s` are ASCII, `.` is anything but a line end, `^` and `$` are the ends of the
 * text. There are no back references, look-arounds or word boundaries.
 */
import { invalidArgument, limitExceeded } from "../../lib/errors";
import { type Step, type Test, Pattern } from "./automaton";

export const PATTERN_CHARS_MAX = 256;
export const GROUPS_NESTING_MAX = 16;
/** Size of the automaton: counted repetitions such as `x{100}` are written out. */
export const STEPS_MAX = 512;
const COMPILED_MAX = 256;

const DIGITS = "0123456789";
const CLASSES: Readonly<Record<string, ReadonlySet<string>>> = {
  d: new Set(DIGITS),
  w: new Set(`${DIGITS}abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_`),
  s: new Set(" \t\n\r\f\v"),
};
const LINE_ENDS = new Set(["\n", "\r", "\u2028", "\u2029"]);
const CONTROLS: Readonly<Record<string, string>> = {
  n: "\n",
  r: "\r",
  t: "\t",
  f: "\f",
  v: "\v",
};

const compiled = new Map<string, Pattern>();

/**
 * Read a pattern.
 *
 * @param pattern At most 256 characters of the syntax above.
 * @param ignoreCase Whether letters match in either case.
 * @returns The pattern, ready to be looked for in texts.
 * @throws `invalid_argument` when the syntax is wrong or not among what is offered;
 *   `limit_exceeded` when it is too long or its counted repetitions are too large.
 */
export function compilePattern(pattern: string, ignoreCase: boolean): Pattern {
  const key = `${ignoreCase ? "i" : "c"}${pattern}`;
  const known = compiled.get(key);
  if (known !== undefined) return known;
  const characters = Array.from(pattern);
  if (characters.length > PATTERN_CHARS_MAX) {
    throw limitExceeded(
      `The pattern has ${characters.length} characters; at most ${PATTERN_CHARS_MAX} are allowed.`,
    );
  }
  const read = new Reader(characters, ignoreCase).read();
  if (compiled.size >= COMPILED_MAX) compiled.clear();
  compiled.set(key, read);
  return read;
}

/** Writes its steps so that they lead on to a given state; answers with their first state. */
type Fragment = (then: number) => number;

const ACCEPTING = -1;

/** Recursive descent over one pattern. Fragments are written back to front. */
class Reader {
  private at = 0;
  private nesting = 0;
  private readonly steps: Step[] = [];

  constructor(
    private readonly pattern: readonly string[],
    private readonly ignoreCase: boolean,
  ) {}

  read(): Pattern {
    const whole = this.alternatives();
    if (this.at < this.pattern.length) throw this.wrong("has a ')' without its '('");
    // The accepting state has a number of its own while the number of steps is not known.
    const start = whole(ACCEPTING);
    const last = this.steps.length;
    const steps = this.steps.map((step) => ({
      ...step,
      to: step.to.map((to) => (to === ACCEPTING ? last : to)),
    }));
    return new Pattern(steps, start === ACCEPTING ? last : start);
  }

  private wrong(what: string) {
    return invalidArgument(`The pattern ${what} (before character ${this.at + 1}).`);
  }

  private peek(ahead = 0): string {
    return this.pattern[this.at + ahead] ?? "";
  }

  private take(): string {
    const character = this.peek();
    if (character === "") throw this.wrong("ends too early");
    this.at += 1;
    return character;
  }

  private put(step: Step): number {
    if (this.steps.length >= STEPS_MAX) {
      throw limitExceeded(
        `The pattern stands for more than ${STEPS_MAX} steps; ` +
          "make its {m,n} repetitions smaller.",
      );
    }
    this.steps.push(step);
    return this.steps.length - 1;
  }

  private alternatives(): Fragment {
    const branches = [this.sequence()];
    while (this.peek() === "|") {
      this.take();
      branches.push(this.sequence());
    }
    const [only] = branches;
    if (only !== undefined && branches.length === 1) return only;
    return (then) => this.put({ to: branches.map((branch) => branch(then)) });
  }

  private sequence(): Fragment {
    const parts: Fragment[] = [];
    while (!["", "|", ")"].includes(this.peek())) parts.push(this.repeated(this.atom()));
    if (parts.length === 0) return this.nothing;
    return (then) => parts.reduceRight((next, part) => part(next), then);
  }

  private atom(): Fragment {
    const character = this.take();
    switch (character) {
      case "(":
        return this.group();
      case "^":
      case "$":
        return (then) => this.put({ to: [then], at: character });
      default:
        return this.one(this.character(character));
    }
  }

  private character(character: string): Test {
    switch (character) {
      case "[":
        return this.set();
      case ".":
        return (text) => !LINE_ENDS.has(text);
      case "\\":
        return this.escape();
      case "*":
      case "+":
      case "?":
      case "{":
        throw this.wrong(`repeats nothing with '${character}'; write \\${character}`);
      default:
        return this.same(character);
    }
  }

  // Even nothing is written as a step, so that `STEPS_MAX` bounds what `(){9999}` costs.
  private readonly nothing: Fragment = (then) => this.put({ to: [then] });

  private one(test: Test): Fragment {
    return (then) => this.put({ test, to: [then] });
  }

  private group(): Fragment {
    if (this.peek() === "?") {
      this.take();
      if (this.take() !== ":") throw this.wrong("uses '(?'; only (…) and (?:…) are offered");
    }
    this.nesting += 1;
    if (this.nesting > GROUPS_NESTING_MAX) {
      throw this.wrong(`nests groups more than ${GROUPS_NESTING_MAX} deep`);
    }
    const inner = this.alternatives();
    if (this.peek() !== ")") throw this.wrong("has a '(' without its ')'");
    this.take();
    this.nesting -= 1;
    return inner;
  }

  private repeated(part: Fragment): Fragment {
    const bounds = this.bounds();
    if (bounds === null) return part;
    if (["?", "+", "*", "{"].includes(this.peek())) {
      throw this.wrong("repeats a repetition; lazy and possessive forms are not offered");
    }
    const { low, high } = bounds;
    if (high === 0) return this.nothing;
    return (then) => {
      let next = then;
      if (high === null) {
        const loop = this.put({ to: [] });
        this.steps[loop] = { to: [part(loop), then] };
        next = loop;
      } else {
        for (let count = low; count < high; count += 1) {
          next = this.put({ to: [part(next), next] });
        }
      }
      for (let count = 0; count < low; count += 1) next = part(next);
      return next;
    };
  }

  private bounds(): { low: number; high: number | null } | null {
    const sign = this.peek();
    if (sign === "*" || sign === "+" || sign === "?") {
      this.take();
      return { low: sign === "+" ? 1 : 0, high: sign === "?" ? 1 : null };
    }
    return sign === "{" ? this.counted() : null;
  }

  private counted(): { low: number; high: number | null } {
    const closing = this.pattern.indexOf("}", this.at);
    const inside = this.pattern.slice(this.at + 1, Math.max(closing, 0)).join("");
    const [, low, comma, high] = /^(\d{1,4})(,?)(\d{0,4})$/.exec(inside) ?? [];
    if (low === undefined || (comma === "" && high !== "")) {
      throw this.wrong("has a '{' that is not {m}, {m,} or {m,n}; write \\{ for the sign");
    }
    this.at = closing + 1;
    const least = Number(low);
    const open = comma ? null : least;
    const most = high ? Number(high) : open;
    if (most !== null && most < least) throw this.wrong("has a {m,n} with n smaller than m");
    return { low: least, high: most };
  }

  private same(character: string): Test {
    if (!this.ignoreCase) return (text) => text === character;
    const folded = character.toLowerCase();
    return (text) => text.toLowerCase() === folded;
  }

  private escape(): Test {
    const character = this.take();
    const members = CLASSES[character.toLowerCase()];
    if (members === undefined) return this.same(this.escaped(character));
    const negated = character !== character.toLowerCase();
    return (text) => members.has(text) !== negated;
  }

  private escaped(character: string): string {
    const control = CONTROLS[character];
    if (control !== undefined) return control;
    if (/^[\p{L}\p{N}]$/u.test(character)) {
      throw this.wrong(`uses \\${character}, which is not offered`);
    }
    return character;
  }

  private set(): Test {
    const negated = this.peek() === "^";
    if (negated) this.take();
    if (this.peek() === "]") throw this.wrong("has an empty []; write \\] for the sign");
    const tests: Test[] = [];
    while (this.peek() !== "]") tests.push(this.member());
    this.take();
    return (text) => tests.some((test) => test(text)) !== negated;
  }

  private member(): Test {
    let character = this.take();
    if (character === "\\") {
      if (CLASSES[this.peek().toLowerCase()] !== undefined) return this.escape();
      character = this.escaped(this.take());
    }
    if (this.peek() !== "-" || ["", "]"].includes(this.peek(1))) return this.same(character);
    this.take();
    let last = this.take();
    if (last === "\\") last = this.escaped(this.take());
    const [from, to] = [codePoint(character), codePoint(last)];
    if (to < from) throw this.wrong(`has the range ${character}-${last}, which is empty`);
    const within = (text: string) => from <= codePoint(text) && codePoint(text) <= to;
    if (!this.ignoreCase) return within;
    return (text) => [text, text.toLowerCase(), text.toUpperCase()].some(within);
  }
}

function codePoint(character: string): number {
  return character.codePointAt(0) ?? -1;
}
