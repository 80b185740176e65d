/** Dates that a question names: "on 7 May 2023", "in June", "2023-05-07", "7/5/2023". */

const DAY_MS = 86_400_000;
const NAMES =
  "january jan february feb march mar april apr may may june jun july jul august aug " +
  "september sep october oct november nov december dec";
const MONTHS: ReadonlyMap<string, number> = new Map([
  ...NAMES.split(" ").map((name, at): [string, number] => [name, Math.floor(at / 2) + 1]),
  ["sept", 9],
]);
const MONTH = [...MONTHS.keys()].sort((left, right) => right.length - left.length).join("|");
const ORDINAL = String.raw`(\d{1,2})(?:st|nd|rd|th)?`;
/** A month, with a day before or behind it, and a year, where there are any. */
const WORDED = new RegExp(
  String.raw`\b(?:${ORDINAL}[\s-]+(?:of\s+)?)?(${MONTH})\b\.?(?:[\s-]+${ORDINAL}\b(?!\d))?` +
    String.raw`(?:,?[\s-]+(?:of\s+)?(\d{4})\b)?`,
  "gi",
);
const DIGITS = /\b(\d{4})([-/.])(\d{1,2})(?:\2(\d{1,2}))?\b/g;
/** Day and month in either order, but the day first where points stand between them. */
const YEAR_LAST = /\b(\d{1,2})([./-])(\d{1,2})\2(\d{4})\b/g;
const YEAR = /\b(19\d\d|20\d\d)\b/g;
const LEADS = new RegExp(
  String.raw`\b(?:in|of|on|since|during|until|till|by|from|before|after|around|this|last|next|` +
    String.raw`early|late|mid)\s+$`,
  "i",
);
/** Months that are other words too; alone they are months only behind a word that leads to one. */
const AMBIGUOUS: ReadonlySet<string> = new Set(["may", "march", "mar"]);

/** A day, a month or a year, as far as the question says. */
export type NamedDate = { readonly year?: number; readonly month?: number; readonly day?: number };

/** The milliseconds at which a day begins, and the first behind the span that begins there. */
export type Span = { readonly begins: number; readonly ends: number };

/** The dates that a question names: those in digits, else in words, else bare years. */
export function datesNamed(question: string): NamedDate[] {
  const digits = [...question.matchAll(DIGITS)].map(([, year, , month, day]) =>
    dateOf(year, Number(month), day),
  );
  digits.push(...[...question.matchAll(YEAR_LAST)].flatMap(yearLast));
  if (digits.length > 0) return digits;
  const worded = [...question.matchAll(WORDED)].flatMap(inWords);
  if (worded.length > 0) return worded;
  return [...question.matchAll(YEAR)].map(([, year]) => ({ year: Number(year) }));
}

function yearLast([, first, mark, second, year]: RegExpMatchArray): NamedDate[] {
  const dayFirst = dateOf(year, Number(second), first);
  // Where one order names no day, as 5/31 read day first, nothing is found for it.
  if (mark === "." || first === second) return [dayFirst];
  return [dayFirst, dateOf(year, Number(first), second)];
}

function inWords(match: RegExpMatchArray): NamedDate[] {
  const [, before, name = "", behind, year] = match;
  const day = before ?? behind;
  const month = name.toLowerCase();
  const isBare = day === undefined && year === undefined && AMBIGUOUS.has(month);
  if (isBare && !LEADS.test((match.input ?? "").slice(0, match.index))) return [];
  return [dateOf(year, MONTHS.get(month) ?? 0, day)];
}

function dateOf(year: string | undefined, month: number, day: string | undefined): NamedDate {
  return {
    month,
    ...(year === undefined ? {} : { year: Number(year) }),
    ...(day === undefined ? {} : { day: Number(day) }),
  };
}

/** The spans that a date names: in each of `years` if it names none itself. */
export function spansOf({ year, month, day }: NamedDate, years: Iterable<number>): Span[] {
  const spans = Array.from(year === undefined ? years : [year], (each) => {
    if (month === undefined) return spanOf(each, 1, 1, { years: 1 });
    return day === undefined ? spanOf(each, month, 1, { months: 1 }) : spanOf(each, month, day, {});
  });
  return spans.filter((span) => span !== undefined);
}

function spanOf(
  year: number,
  month: number,
  day: number,
  length: { readonly years?: number; readonly months?: number },
): Span | undefined {
  const begins = utc(year, month, day);
  const first = new Date(begins);
  // 30 February, or a year no calendar has.
  if (first.getUTCMonth() !== month - 1 || first.getUTCDate() !== day || year < 1) return undefined;
  const { years = 0, months = 0 } = length;
  const isDay = years === 0 && months === 0;
  return { begins, ends: isDay ? begins + DAY_MS : utc(year + years, month + months, 1) };
}

function utc(year: number, month: number, day: number): number {
  // `Date.UTC` takes the years 0 to 99 for those of the last century.
  return new Date(0).setUTCFullYear(year, month - 1, day);
}
