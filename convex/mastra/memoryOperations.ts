/** Storage operations that only threads and resources have. */
import { byRecordId, type WritableDocuments } from "../lib/documents";
import { merged } from "../lib/metadata";
import type { UncheckedObject } from "../lib/values";
import type { Reply, Request } from "./requests";
import type { TableOperation } from "./routes";

/**
 * Set title and `updatedAt`, merge metadata; null when there is no such thread.
 *
 * A `title` or `metadata` that is absent is left as it is.
 */
async function updateThread(documents: WritableDocuments, request: Request): Promise<Reply> {
  const row = await documents.first("mastra_threads", byRecordId(request["id"]));
  if (row === null) return { ok: true, result: null };
  const changes = given(request, ["title", "updatedAt"]);
  if (request["metadata"] !== undefined) {
    changes["metadata"] = merged(row.metadata, request["metadata"]);
  }
  return { ok: true, result: await documents.patch("mastra_threads", row, changes) };
}

/** Change a resource's working memory and metadata; create the resource when missing. */
async function updateResource(documents: WritableDocuments, request: Request): Promise<Reply> {
  const { resourceId: id, createdAt, updatedAt, metadata } = request;
  const row = await documents.first("mastra_resources", byRecordId(id));
  const changes = given(request, ["workingMemory"]);
  if (row === null) {
    const record = { id, ...changes, metadata: metadata || {}, createdAt, updatedAt };
    await documents.insert("mastra_resources", record);
    return { ok: true, result: record };
  }
  if (metadata !== undefined) changes["metadata"] = merged(row.metadata, metadata);
  changes["updatedAt"] = updatedAt;
  return { ok: true, result: await documents.patch("mastra_resources", row, changes) };
}

function given(request: UncheckedObject, names: readonly string[]): Record<string, unknown> {
  const entries = names.map((name) => [name, request[name]] as const);
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

/** The operations, by name. */
export const MEMORY_OPERATIONS: Readonly<Record<string, TableOperation>> = {
  updateThread: { table: "mastra_threads", run: updateThread },
  updateResource: { table: "mastra_resources", run: updateResource },
};
