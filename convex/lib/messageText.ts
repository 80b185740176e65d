/**
 * The plain text of a stored message: what is searched for and embedded.
 *
 * Messages come in every shape that has ever been stored: the JSON text of a format-2 message
 * (`{format: 2, parts: […], content}`), arrays of parts as older versions wrote them, text in
 * quotes, or simply text. The same as `convex_memory/text.py`.
 */
import { isObject, type UncheckedObject } from "./values";

/** Characters that the arguments, or the result, of one tool call add to a message's text. */
export const TOOL_CHARS_MAX = 4000;
/** Levels of a tool's arguments or result that are looked at. */
const DEPTH_MAX = 16;

/**
 * The plain text of a stored message; empty when it has none.
 *
 * Text and reasoning count whole; a tool call counts with its name and, up to `TOOL_CHARS_MAX`
 * characters each, its arguments and its result; files and sources count with their names, never
 * with their bytes. Anything that is not a message, such as text that merely looks like JSON, is
 * its own text.
 *
 * @param content The stored text of a message.
 * @returns Valid Unicode, the pieces in order, one to a line. Odd input is never an error.
 */
export function messageText(content: string): string {
  return wellFormed(storedText(content));
}

/**
 * The stored text of a message with another text, other metadata, or both.
 *
 * @param stored The stored text of the message.
 * @param text What it says now, in place of everything it said, tool calls included; undefined
 *   keeps it.
 * @param metadata Merged into its metadata at the top level, a null taking a member away;
 *   undefined keeps them.
 * @returns The JSON text of a format-2 message.
 */
export function changedContent(
  stored: string,
  text: string | undefined,
  metadata: UncheckedObject | undefined,
): string {
  let content = formatTwo(stored) ?? textContent(messageText(stored));
  if (text !== undefined) {
    const kept = "metadata" in content ? { metadata: content["metadata"] } : {};
    content = { ...textContent(text), ...kept };
  }
  if (metadata !== undefined) {
    const before = content["metadata"];
    const merged = { ...(isObject(before) ? before : {}), ...metadata };
    const present = Object.entries(merged).filter(([, value]) => value !== null);
    content = { ...content, metadata: Object.fromEntries(present) };
  }
  return JSON.stringify(content);
}

function textContent(text: string): UncheckedObject {
  return { format: 2, parts: [{ type: "text", text }] };
}

function formatTwo(stored: string): UncheckedObject | undefined {
  try {
    const content: unknown = JSON.parse(stored);
    return isObject(content) && content["format"] === 2 ? content : undefined;
  } catch {
    return undefined;
  }
}

function storedText(stored: string): string {
  // Parsing `42` or `true` would only lose how it was written.
  if (!/^[ \t\r\n]*[{["]/.test(stored)) return stored;
  let parsed: unknown;
  try {
    parsed = JSON.parse(stored);
  } catch {
    return stored;
  }
  if (typeof parsed === "string") return parsed;
  const found = Array.isArray(parsed)
    ? partsText(parsed)
    : contentText(isObject(parsed) ? parsed : {});
  return found ?? stored;
}

/** Text of a parsed message, or undefined when this is not one. */
function contentText(content: UncheckedObject): string | undefined {
  if (Object.keys(content).length === 0) return "";
  const { parts, content: body, text } = content;
  if (Array.isArray(parts) && parts.length > 0) {
    const said = partsText(parts);
    if (said) return said;
  }
  if (typeof body === "string") return lines([body, ...legacyCalls(content)]);
  if (Array.isArray(body)) return partsText(body);
  if (Array.isArray(parts)) return lines(legacyCalls(content));
  return typeof text === "string" ? text : undefined;
}

function legacyCalls({ toolInvocations: calls }: UncheckedObject): string[] {
  return Array.isArray(calls) ? calls.filter(isObject).map(callText) : [];
}

/** Text of a list of parts, or undefined when it holds something else. */
function partsText(parts: readonly unknown[]): string | undefined {
  const pieces: string[] = [];
  for (const part of parts) {
    if (typeof part === "string") {
      pieces.push(part);
    } else if (isObject(part) && typeof part["type"] === "string") {
      pieces.push(partText(part["type"], part));
    } else {
      return undefined;
    }
  }
  return lines(pieces);
}

function partText(kind: string, part: UncheckedObject): string {
  const read = READERS.get(kind);
  if (read !== undefined) return read(part);
  // Later versions name a tool's part after the tool, and an application's after its data.
  if (kind.startsWith("tool-")) return callText({ toolName: kind.slice("tool-".length), ...part });
  if (kind.startsWith("data-")) return compact(part["data"]);
  return plain(part);
}

function plain({ text }: UncheckedObject): string {
  return typeof text === "string" ? text : "";
}

function reasoning({ text, reasoning: thought, details }: UncheckedObject): string {
  for (const said of [text, thought]) {
    if (typeof said === "string" && said) return said;
  }
  return Array.isArray(details) ? lines(details.filter(isObject).map(plain)) : "";
}

function invocation(part: UncheckedObject): string {
  const { toolInvocation: call } = part;
  return callText(isObject(call) ? call : part);
}

/** Name, arguments and result of a tool call, under the names each version gives them. */
function callText(call: UncheckedObject): string {
  const { toolName: name } = call;
  const given = call["args"] ?? call["input"];
  const result = call["result"] ?? call["output"] ?? call["errorText"];
  return words([typeof name === "string" ? name : "", compact(given), compact(result)]);
}

function source(part: UncheckedObject): string {
  const { source: inner } = part;
  return names(isObject(inner) ? inner : part);
}

/** What a file or a source is called; a `data:` address is bytes, not a name. */
function names({ title, filename, name, url }: UncheckedObject): string {
  const texts = [title, filename, name, url].filter((text) => typeof text === "string");
  return words(texts.filter((text) => !text.startsWith("data:")));
}

const READERS: ReadonlyMap<string, (part: UncheckedObject) => string> = new Map([
  ["text", plain],
  ["reasoning", reasoning],
  ["redacted-reasoning", () => ""],
  ["step-start", () => ""],
  ["tool-invocation", invocation],
  ["tool-call", callText],
  ["tool-result", callText],
  ["dynamic-tool", callText],
  ["file", names],
  ["image", names],
  ["source", source],
  ["source-url", names],
  ["source-document", names],
]);

/** Names and scalars of any JSON value in reading order, up to `TOOL_CHARS_MAX` characters. */
function compact(value: unknown): string {
  const pieces: string[] = [];
  let room = TOOL_CHARS_MAX;
  for (const piece of scalars(value, DEPTH_MAX)) {
    if (room <= 0) break;
    pieces.push(piece.slice(0, room));
    room -= piece.length + 1;
  }
  return pieces.join(" ");
}

function* scalars(value: unknown, depth: number): Generator<string> {
  if (typeof value === "string" || typeof value === "boolean" || typeof value === "number") {
    if (value !== "") yield String(value);
    return;
  }
  if (depth <= 0) return;
  if (Array.isArray(value)) {
    for (const item of value) yield* scalars(item, depth - 1);
  } else if (isObject(value)) {
    for (const [name, item] of Object.entries(value)) {
      yield name;
      yield* scalars(item, depth - 1);
    }
  }
}

const lines = (pieces: readonly string[]) => pieces.filter(Boolean).join("\n");
const words = (pieces: readonly string[]) => pieces.filter(Boolean).join(" ");

/** The text with `?` for each half of a surrogate pair: JSON may escape one, no store takes it. */
function wellFormed(text: string): string {
  return text.replace(
    /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g,
    "?",
  );
}
