/** What a search of messages may ask of them besides its words or its vector. */
import type { Value } from "convex/values";
import type { Doc } from "../../_generated/dataModel";
import { invalidArgument } from "../../lib/errors";
import { isObject } from "../../lib/values";
import { equal } from "./conditions";

/** Members that a message's metadata must have. */
export type WantedMetadata = Readonly<Record<string, Value>>;

/**
 * Return the metadata that a search asks for.
 *
 * @throws `invalid_argument` when it is not an object.
 */
export function metadataIn(metadata: Value | undefined): WantedMetadata {
  if (metadata === undefined || metadata === null) return {};
  if (!isObject(metadata)) {
    throw invalidArgument("metadata must be an object of the values to match.");
  }
  return metadata as Record<string, Value>;
}

/** Whether a message's metadata has members equal to those wanted. */
export function hasMetadata(
  { content }: Pick<Doc<"mastra_messages">, "content">,
  wanted: WantedMetadata,
): boolean {
  const members = Object.entries(wanted);
  if (members.length === 0) return true;
  let metadata: unknown;
  try {
    metadata = (JSON.parse(content) as { metadata?: unknown } | null)?.metadata;
  } catch {
    return false;
  }
  if (!isObject(metadata)) return false;
  return members.every(
    ([name, value]) => Object.hasOwn(metadata, name) && equal(metadata[name] as Value, value),
  );
}
