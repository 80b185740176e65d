/** Who speaks in a message, and whether they ask something; as `embedded/turns.py` has it. */
import { isObject } from "../../lib/values";

const SPEAKER_CHARS_MAX = 64;
/** Members of a message's metadata that say who speaks, first one first. */
const SPEAKER_MEMBERS = ["speaker", "name", "author", "from"] as const;
/** Characters at the end of a text that tell whether it asks. */
const END_CHARS = 400;

const ASKS = /\?[^\p{L}\p{N}_]*(\[[^\]]*\]\s*)?$/u;
const NAME = String.raw`\p{L}[\p{L}\p{N}_.'-]{0,40}(?: [\p{L}\p{N}_.'-]{1,40}){0,2}`;
/** `Ada Lovelace: …`, a time in brackets before it. */
const PREFIX = new RegExp(String.raw`^\s*(?:[[(][^\])]{0,60}[\])]\s*)?(${NAME}):\s`, "u");

/** Who speaks, as metadata or the beginning of the text says; empty if neither does. */
export function speakerOf(text: string, metadata: unknown): string {
  if (isObject(metadata)) {
    for (const name of SPEAKER_MEMBERS) {
      const value = metadata[name];
      if (typeof value === "string" && value.trim() !== "") {
        return Array.from(value.trim()).slice(0, SPEAKER_CHARS_MAX).join("");
      }
    }
  }
  return PREFIX.exec(text)?.[1] ?? "";
}

/** Whether a text ends with a question. */
export function asksSomething(text: string): boolean {
  return ASKS.test(text.slice(-END_CHARS));
}
