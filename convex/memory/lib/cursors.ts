/** Cursors: opaque text that continues one question after a position. */
import { invalidArgument } from "../../lib/errors";

/** The parts of a position; what they are is the question's own business. */
export type Part = string | number;

/**
 * Write a cursor.
 *
 * @param question What it continues; only the same words read it again.
 * @param position Where the answer ended.
 */
export function writeCursor(question: string, position: readonly Part[]): string {
  const bytes = new TextEncoder().encode(JSON.stringify([question, ...position]));
  const binary = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/**
 * Read a cursor.
 *
 * @param cursor The text; absent or null at the beginning.
 * @param question The words it was written with.
 * @param kinds The types of the position's parts.
 * @returns The position, or null at the beginning.
 * @throws `invalid_argument` when it is not one that this question gave.
 */
export function readCursor(
  cursor: string | null | undefined,
  question: string,
  kinds: readonly ("string" | "number")[],
): Part[] | null {
  if (cursor === undefined || cursor === null) return null;
  const parts = decoded(cursor);
  const [asked, ...position] = parts ?? [];
  if (
    asked !== question ||
    position.length !== kinds.length ||
    !position.every((part, at) => typeof part === kinds[at])
  ) {
    throw invalidArgument(
      "This cursor does not continue this question. Pass the next_cursor of the answer " +
        "before, with the same other arguments, or leave it out to start from the beginning.",
    );
  }
  return position as Part[];
}

function decoded(cursor: string): unknown[] | null {
  try {
    const binary = atob(cursor.replaceAll("-", "+").replaceAll("_", "/"));
    const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
    const parts: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return Array.isArray(parts) ? parts : null;
  } catch {
    return null;
  }
}
