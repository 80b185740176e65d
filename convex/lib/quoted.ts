/** Text as a refusal shows it, the same on every deployment. */

const NAMED: Readonly<Record<string, string>> = {
  "\\": "\\\\",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
};

/**
 * Text in quotes, in printable ASCII only, so that whatever stands in an id can be read.
 *
 * In single quotes, unless it holds some and no double ones; other characters as `\xe9`,
 * `\u20ac` or `\U0001f600`.
 */
export function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const shown = Array.from(text, (character) => {
    if (character === quote) return `\\${character}`;
    const named = NAMED[character];
    if (named !== undefined) return named;
    return /^[ -~]$/.test(character) ? character : escaped(character.codePointAt(0) ?? 0);
  });
  return `${quote}${shown.join("")}${quote}`;
}

function escaped(point: number): string {
  const digits = point.toString(16);
  if (point <= 0xff) return `\\x${digits.padStart(2, "0")}`;
  if (point <= 0xffff) return `\\u${digits.padStart(4, "0")}`;
  return `\\U${digits.padStart(8, "0")}`;
}
