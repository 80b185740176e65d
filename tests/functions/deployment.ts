// A deployment of the functions in memory, and the calls that tests make of it.
import { convexTest } from "convex-test";
import { internal } from "../../convex/_generated/api";
import type { RefusalData } from "../../convex/lib/errors";
import schema from "../../convex/schema";

/** Every module of the functions, as convex-test and the checks of them load it. */
export const modules = import.meta.glob("../../convex/**/*.ts");

/** An envelope of the wire protocol, whichever it is. */
export type Answer = {
  ok: boolean;
  error?: string;
  result?: unknown;
  hasMore?: boolean;
  continuationCursor?: string;
};

/** An empty deployment that keeps Convex's limits for one transaction. */
export function emptyDeployment() {
  return convexTest({ schema, modules, transactionLimits: true });
}

/** Its type. */
export type Deployment = ReturnType<typeof emptyDeployment>;

/** Call the storage function. */
export async function storage(
  deployment: Deployment,
  op: string,
  tableName: string,
  request: Record<string, unknown> = {},
): Promise<Answer> {
  return await deployment.mutation(internal.mastra.storage.handle, { op, tableName, ...request });
}

/** What a call is refused with; a test failure when it is not. */
export async function refusalOf(call: Promise<unknown>): Promise<RefusalData> {
  try {
    await call;
  } catch (error) {
    const { data } = error as { data?: unknown };
    if (data === undefined) throw error;
    return (typeof data === "string" ? JSON.parse(data) : data) as RefusalData;
  }
  throw new Error("The call was not refused.");
}

/** The row of a message. */
export function message(id: string, text: string, fields: Record<string, unknown> = {}) {
  return {
    id,
    thread_id: "thread",
    resourceId: "resource",
    role: "user",
    type: "v2",
    content: JSON.stringify({ format: 2, parts: [{ type: "text", text }] }),
    createdAt: "2025-01-31T12:00:00.000Z",
    ...fields,
  };
}
