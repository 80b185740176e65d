/** JSON as people read it: a space after each comma and colon, the same on every deployment. */
import { isObject } from "../../lib/values";

/** A JSON value as text on one line. */
export function jsonText(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(jsonText).join(", ")}]`;
  if (!isObject(value)) return JSON.stringify(value);
  const members = Object.entries(value).map(
    ([name, member]) => `${JSON.stringify(name)}: ${jsonText(member)}`,
  );
  return `{${members.join(", ")}}`;
}
