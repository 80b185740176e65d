/**
 * Storage operations that only workflow snapshots have: merges, each in one transaction.
 *
 * Branches of one run report their steps at the same time. What they send is merged into the
 * stored snapshot here, so none has to read the snapshot first and none overwrites another's.
 */
import type { Doc } from "../_generated/dataModel";
import type { Value } from "convex/values";
import type { WritableDocuments } from "../lib/documents";
import { invalidArgument } from "../lib/errors";
import { isObject, type UncheckedObject } from "../lib/values";
import { SoftRefusal, type Reply, type Request } from "./requests";
import type { TableOperation } from "./routes";

const SNAPSHOTS = "mastra_workflow_snapshots";
/** `{"__mastra_pending__": true}` in an output: this element is being worked on again. */
const PENDING_MARKER = "__mastra_pending__";

/** A run's row, and the snapshot in it. */
interface Run {
  readonly row: Doc<typeof SNAPSHOTS>;
  readonly snapshot: UncheckedObject;
  readonly context: UncheckedObject;
}

/** Replace members of a run's snapshot; answer with all of it, as JSON text. */
async function mergeWorkflowState(documents: WritableDocuments, request: Request): Promise<Reply> {
  const { row, snapshot } = await runOf(documents, request);
  const merged = { ...snapshot, ...objectArgument(request, "opts") };
  return { ok: true, result: await store(documents, row, merged) };
}

/** Merge one step's result into a run's snapshot; answer with its context, as JSON text. */
async function mergeWorkflowStepResult(
  documents: WritableDocuments,
  request: Request,
): Promise<Reply> {
  const { row, snapshot, context: before } = await runOf(documents, request);
  const { stepId: step } = request;
  if (typeof step !== "string") throw invalidArgument("stepId must be text.");
  const result = mergedResult(own(before, step), jsonArgument(request, "result"));
  const context = { ...before, [step]: result };
  const stored = snapshot["requestContext"];
  const requestContext = {
    ...(isObject(stored) ? stored : {}),
    ...objectArgument(request, "requestContext"),
  };
  await store(documents, row, { ...snapshot, context, requestContext });
  return { ok: true, result: JSON.stringify(context) };
}

/**
 * What a step's stored result and a newly reported one amount to.
 *
 * Results whose `output` is an array, as those of a loop over many items, are merged element by
 * element; any other new result replaces the old one.
 */
export function mergedResult(before: unknown, reported: unknown): unknown {
  const earlier = outputOf(before);
  const later = outputOf(reported);
  if (earlier === undefined || later === undefined) return reported;
  const startsAgain = later.some(isPending);
  return {
    ...(before as UncheckedObject),
    ...(startsAgain ? {} : (reported as UncheckedObject)),
    output: mergedOutput(earlier, later, startsAgain),
  };
}

/**
 * Outputs merged: null leaves an element alone, a pending marker empties one that waits.
 *
 * An output with a marker in it says which elements start again and nothing else.
 */
function mergedOutput(
  before: readonly unknown[],
  reported: readonly unknown[],
  startsAgain: boolean,
): unknown[] {
  const merged = [...before];
  for (const [at, element] of reported.entries()) {
    const isNew = at >= before.length;
    if (isPending(element)) {
      if (isNew || mayStartAgain(before[at])) merged[at] = null;
    } else if (element !== null && !startsAgain) {
      merged[at] = element;
    } else if (isNew) {
      merged[at] = null;
    }
  }
  return merged;
}

function isPending(element: unknown): boolean {
  return (
    isObject(element) && Object.keys(element).length === 1 && element[PENDING_MARKER] === true
  );
}

function mayStartAgain(element: unknown): boolean {
  if (element === null || isPending(element)) return true;
  return (
    isObject(element) &&
    element["status"] === "suspended" &&
    ("suspendPayload" in element || "suspendedAt" in element)
  );
}

function outputOf(result: unknown): readonly unknown[] | undefined {
  const output = isObject(result) ? result["output"] : undefined;
  return Array.isArray(output) ? output : undefined;
}

async function runOf(documents: WritableDocuments, request: Request): Promise<Run> {
  const { workflowName, runId } = request;
  const equals = [workflowName, runId].map((value) => (value ?? null) as Value);
  const row = await documents.first(SNAPSHOTS, { index: "by_workflow_run", equals });
  if (row === null) {
    throw new SoftRefusal(`Workflow snapshot not found for runId ${String(runId)}`);
  }
  const stored: unknown = row.snapshot ?? emptySnapshot(runId);
  const snapshot = typeof stored === "string" ? parsed(stored, "The stored snapshot") : stored;
  const context = isObject(snapshot) ? snapshot["context"] : undefined;
  if (!isObject(snapshot) || !isObject(context)) {
    const text = `Snapshot for runId ${String(runId)} is missing or has invalid context`;
    throw new SoftRefusal(text);
  }
  return { row, snapshot, context };
}

function emptySnapshot(runId: unknown): UncheckedObject {
  return {
    runId,
    status: "pending",
    value: {},
    context: {},
    activePaths: [],
    activeStepsPath: {},
    suspendedPaths: {},
    resumeLabels: {},
    waitingPaths: {},
    serializedStepGraph: [],
    timestamp: Date.now(),
  };
}

async function store(
  documents: WritableDocuments,
  row: Doc<typeof SNAPSHOTS>,
  snapshot: UncheckedObject,
): Promise<string> {
  const text = JSON.stringify(snapshot);
  const updatedAt = new Date().toISOString();
  await documents.patch(SNAPSHOTS, row, { snapshot: text, updatedAt });
  return text;
}

function objectArgument(request: Request, name: string): UncheckedObject {
  const value = jsonArgument(request, name) ?? {};
  if (!isObject(value)) throw invalidArgument(`${name} must be the JSON text of an object.`);
  return value;
}

function jsonArgument(request: Request, name: string): unknown {
  const text = request[name];
  if (typeof text !== "string") throw invalidArgument(`${name} must be JSON text.`);
  return parsed(text, name);
}

function parsed(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw invalidArgument(`${where} is not valid JSON text.`);
  }
}

/** A member that the object itself has: a step may be called `constructor`. */
function own(object: UncheckedObject, name: string): unknown {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}

/** The operations, by name. */
export const WORKFLOW_OPERATIONS: Readonly<Record<string, TableOperation>> = {
  mergeWorkflowState: { table: SNAPSHOTS, run: mergeWorkflowState },
  mergeWorkflowStepResult: { table: SNAPSHOTS, run: mergeWorkflowStepResult },
};
