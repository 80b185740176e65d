/** What is one principal's, seen from inside a deployment and from outside. */
import { byRecordId, type Documents } from "../../lib/documents";
import { forbidden, invalidArgument } from "../../lib/errors";
import { quoted } from "../../lib/quoted";
import { isObject } from "../../lib/values";
import type { Members, Shape } from "./policy";
import { namespaceOf, PRINCIPAL_NAME_CHARS_MAX } from "./principals";
import { removalsOf } from "./removals";
import { findMessage } from "./rows";
import { discarded } from "./trash";

type Fields = Record<string, unknown>;
type Role = (given: unknown) => unknown;

/** Roles without which a call would not be kept within what is the principal's. */
const REQUIRED: ReadonlySet<unknown> = new Set([
  "owner",
  "lookup",
  "lookups",
  "in_thread",
  "thread_keys",
]);

/** A principal's names, as they are stored. */
export class Namespace {
  private readonly prefix: string;
  private readonly roles: ReadonlyMap<string, Role>;

  constructor(
    private readonly documents: Documents,
    private readonly principal: string,
  ) {
    this.prefix = namespaceOf(principal);
    this.roles = new Map<string, Role>([
      ["plain", (given) => given],
      ["namespace", (given) => given],
      ["owner", (given) => this.owner(given)],
      ["thread", async (given) => await this.thread(given)],
      ["message", async (given) => await this.message(given)],
      ["observation", async (given) => await this.observation(given)],
      ["lookup", async (given) => await this.lookup(given)],
      ["lookups", async (given) => await this.lookups(given)],
      ["in_thread", async (given) => await this.inThread(given)],
      ["thread_keys", async (given) => await this.threadKeys(given)],
      ["name", (given) => this.name(given)],
      ["key", (given) => this.name(given)],
    ]);
  }

  /**
   * Arguments with the principal's names as they are stored.
   *
   * @throws `invalid_argument` when there is one that the shape does not have, or a name is too
   *   long; `forbidden` when a call would reach beyond what is the principal's.
   */
  async put(shape: Members, given: Readonly<Fields>): Promise<Fields> {
    const extra = Object.keys(given)
      .sort()
      .find((name) => !Object.hasOwn(shape, name));
    if (extra !== undefined) {
      throw invalidArgument(
        `Object contains extra field \`${extra}\`; the arguments are ` +
          `${Object.keys(shape).join(", ")}.`,
      );
    }
    const placed: Fields = {};
    for (const [name, value] of Object.entries(given)) {
      placed[name] = await this.putOne(shape[name] ?? "plain", value);
    }
    for (const [name, role] of Object.entries(shape)) {
      if (role === "namespace") placed[name] = this.prefix;
      else if (REQUIRED.has(role) && (placed[name] ?? null) === null) {
        placed[name] = await this.putOne(role, null);
      }
    }
    return placed;
  }

  private async putOne(shape: Shape, given: unknown): Promise<unknown> {
    if (typeof shape === "string") {
      const role = this.roles.get(shape);
      if (role === undefined) throw new Error(`There is no role ${shape}.`);
      return await role(given);
    }
    if (isMembers(shape)) return isObject(given) ? await this.put(shape, given) : given;
    if (!Array.isArray(given)) return given;
    const placed: unknown[] = [];
    for (const [at, value] of (given as unknown[]).entries()) {
      placed.push(await this.putOne(shapeAt(shape, at), value));
    }
    return placed;
  }

  /** The principal; in place of another resource, one that nobody has. */
  private owner(given: unknown): unknown {
    return typeof given !== "string" || given === this.principal
      ? this.principal
      : this.name(given);
  }

  /** A name of the principal's as it is stored. What is no name is left as it is. */
  private name(given: unknown): unknown {
    if (typeof given !== "string" || given === "") return given;
    const { length } = Array.from(given);
    if (length > PRINCIPAL_NAME_CHARS_MAX) {
      throw invalidArgument(
        `Ids, index names and keys have at most ${PRINCIPAL_NAME_CHARS_MAX} characters here; one ` +
          `has ${length}.`,
      );
    }
    return this.prefix + given;
  }

  private async thread(given: unknown): Promise<unknown> {
    return await this.stored(given, async (id) => await this.hasThread(id));
  }

  private async message(given: unknown): Promise<unknown> {
    return await this.stored(given, async (id) => await this.hasMessage(id));
  }

  private async observation(given: unknown): Promise<unknown> {
    return await this.stored(given, async (id) => {
      const row = await this.documents.first("mastra_observational_memory", byRecordId(id));
      return row?.resourceId === this.principal;
    });
  }

  /** The id under which something of the principal's is, or would be, stored. */
  private async stored(given: unknown, has: (id: string) => Promise<boolean>): Promise<unknown> {
    const named = this.name(given);
    return typeof given === "string" && given !== "" && (await has(given)) ? given : named;
  }

  private async lookup(given: unknown): Promise<string> {
    const found = typeof given === "string" ? /^(thread|resource):(.*)$/su.exec(given) : null;
    const [, kind, name = ""] = found ?? [];
    if (kind === "thread" && name !== "") return `thread:${String(await this.thread(name))}`;
    if (kind === "resource") return `resource:${String(this.owner(name))}`;
    throw invalidArgument("lookupKey must be thread:ID or resource:ID.");
  }

  private async lookups(given: unknown): Promise<Fields[]> {
    const value = filteredBy("lookupKey", given);
    return [{ field: "lookupKey", value: await this.lookup(value) }];
  }

  private async inThread(given: unknown): Promise<Fields[]> {
    return [{ field: "thread_id", value: await this.thread(filteredBy("thread_id", given)) }];
  }

  private async threadKeys(given: unknown): Promise<Fields> {
    const isOne = isObject(given) && Object.keys(given).join() === "id" && Boolean(given["id"]);
    if (!isOne) throw forbidden("Callers from outside load a thread by its id.");
    return { id: await this.thread((given as Fields)["id"]) };
  }

  private async hasThread(threadId: string): Promise<boolean> {
    const row = await this.documents.first("mastra_threads", byRecordId(threadId));
    if (row !== null) return row.resourceId === this.principal;
    const kept = await discarded(this.documents, "mastra_threads", threadId, this.principal);
    if (kept !== null) return true;
    const removals = await removalsOf(this.documents, threadId);
    return removals.some(({ resourceId }) => resourceId === this.principal);
  }

  private async hasMessage(messageId: string): Promise<boolean> {
    const stored = await this.documents.first("mastra_messages", byRecordId(messageId));
    if (stored === null) {
      const kept = await discarded(this.documents, "mastra_messages", messageId, this.principal);
      return kept !== null;
    }
    const row = await findMessage(this.documents, messageId, this.principal);
    if (row === null) return false;
    // What stands around it is seen with it, so the thread has to be the principal's as well.
    const thread = await this.documents.first("mastra_threads", byRecordId(row.thread_id));
    return thread === null || thread.resourceId === this.principal;
  }
}

/** The value by which alone a filter asks of a field. */
function filteredBy(field: string, given: unknown): unknown {
  const only: unknown = Array.isArray(given) && given.length === 1 ? given[0] : undefined;
  if (!isObject(only) || only["field"] !== field || !only["value"]) {
    throw forbidden(`Callers from outside filter by ${field}.`);
  }
  return only["value"];
}

/** An answer with names as the principal knows them. */
export function taken(principal: string, shape: Shape, answer: unknown): unknown {
  if (shape === "plain") return answer;
  if (typeof shape === "string") {
    return typeof answer === "string" ? takenName(principal, shape, answer) : answer;
  }
  if (Array.isArray(answer)) {
    return (answer as unknown[]).map((value, at) => taken(principal, shapeAt(shape, at), value));
  }
  if (!isMembers(shape) || !isObject(answer)) return answer;
  const members = Object.entries(answer).map(([name, value]) => {
    const each = Object.hasOwn(shape, name) ? shape[name] : undefined;
    return [name, taken(principal, each ?? "plain", value)];
  });
  return Object.fromEntries(members);
}

function takenName(principal: string, role: string, answer: string): string {
  if (role === "text") return unquoted(principal, answer);
  const prefix = namespaceOf(principal);
  return answer.startsWith(prefix) ? answer.slice(prefix.length) : answer;
}

/** Text without the name space, where it quotes a name. */
export function unquoted(principal: string, text: string): string {
  const prefix = namespaceOf(principal);
  return text.replaceAll(prefix, "").replaceAll(quoted(prefix).slice(1, -1), "");
}

function isMembers(shape: Shape): shape is Members {
  return typeof shape === "object" && !Array.isArray(shape);
}

/** One shape stands for all elements of an array; several are the places of a tuple. */
function shapeAt(shape: Shape, at: number): Shape {
  if (!Array.isArray(shape)) return "plain";
  const shapes = shape as readonly Shape[];
  return shapes[shapes.length === 1 ? 0 : at] ?? "plain";
}
