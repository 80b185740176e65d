// What the tests of `memory/*` say to a deployment, and how they read its rows.
import { internal } from "../../convex/_generated/api";
import type { Answer, Deployment } from "./deployment";

/** A message row as Mastra stores it, said so many seconds into the day. */
export function message(id: string, seconds: number, rest: Record<string, string> = {}) {
  const { text = `says ${id}`, ...fields } = rest;
  return {
    id,
    thread_id: "t",
    content: JSON.stringify({ format: 2, parts: [{ type: "text", text }] }),
    role: "user",
    type: "v2",
    createdAt: new Date(Date.UTC(2025, 5, 1) + seconds * 1000).toISOString(),
    resourceId: "ann",
    ...fields,
  };
}

/** `count` messages, a second apart. */
export function messages(count: number, rest: Record<string, string> = {}) {
  return Array.from({ length: count }, (_, n) => message(`m${n}`, n, rest));
}

/** Store messages of a thread of ann's, twenty a call. */
export async function say(
  deployment: Deployment,
  said: readonly ReturnType<typeof message>[],
): Promise<void> {
  const thread = { id: "t", resourceId: "ann" };
  for (let at = 0; at < said.length; at += 20) {
    const batch = said.slice(at, at + 20);
    await deployment.mutation(internal.memory.messages.save, { messages: batch, thread });
  }
}

/** The ids of rows. */
export function idsOf(rows: readonly { id: string }[]): string[] {
  return rows.map(({ id }) => id);
}

/** The ids of the rows that the storage function answered with. */
export function idsIn({ result }: Answer): string[] {
  return idsOf(result as { id: string }[]);
}
