/** Metadata as rows hold it: objects, or JSON text of objects as older writers left it. */
import { isObject, type UncheckedObject } from "./values";

/** Stored metadata as an object; text is read as JSON, anything else is empty. */
export function asObject(metadata: unknown): UncheckedObject {
  let value = metadata;
  while (typeof value === "string") {
    try {
      value = JSON.parse(value);
    } catch {
      return {};
    }
  }
  return isObject(value) ? value : {};
}

/** Metadata merged at the top level, the given members winning. */
export function merged(stored: unknown, given: unknown): UncheckedObject {
  return { ...asObject(stored), ...asObject(given) };
}

/** Metadata merged at the top level; a member given as null goes away. */
export function mergedWithoutNulls(stored: unknown, given: unknown): UncheckedObject {
  const members = Object.entries(merged(stored, given)).filter(([, value]) => value !== null);
  return Object.fromEntries(members);
}
