/**
 * `memory/transfer:*`: every row out of a deployment, and into one.
 *
 * Rows travel as text (`lib/transferText.ts`), without the fields that a deployment gives them.
 * What is derived from rows does not travel: whoever stores them derives it. Rows that only wait to
 * be removed are as if they were not there.
 */
import { ConvexError, getDocumentSize, v } from "convex/values";
import { internalMutation, internalQuery } from "../_generated/server";
import { Documents, withoutSystemFields } from "../lib/documents";
import { invalidArgument, isRefusal } from "../lib/errors";
import { TRANSFER_BYTES_MAX, TRANSFER_ROWS_MAX } from "../lib/limits";
import { nativeDimensions } from "../lib/vectorTables";
import { choice, given, text, vNumber, vText, whole } from "./lib/arguments";
import { countOf, keys } from "./lib/counts";
import { type Part, readCursor, writeCursor } from "./lib/cursors";
import { following } from "./lib/followed";
import { type Place, rowsAfter } from "./lib/transferSources";
import { MOVED_TABLES, type MovedTable, nativeTables } from "./lib/transferTables";
import { checkedNotes, NOTES } from "./lib/transferNotes";
import type { Outcome, Target } from "./lib/transferTarget";
import { targetNamed } from "./lib/transferTargets";
import { readRow, rowText } from "./lib/transferText";

const vNative = v.object({
  dimension: v.number(),
  idField: v.string(),
  vectorField: v.string(),
});

/** What is noted of rows beside them: the position of a row, and text. */
const vNotes = v.array(v.array(v.union(v.number(), v.string())));

/** The tables whose rows are counted, and as what. */
const COUNTED: Partial<Record<MovedTable, string>> = {
  mastra_threads: keys.threads,
  mastra_messages: keys.messages,
  mastra_resources: keys.resources,
  mastra_vectors: keys.vectors,
  mastra_cache: keys.cacheKeys,
};

/** Return the tables whose rows move, how many each has, and what values are held here. */
export const tables = internalQuery({
  args: {},
  returns: v.object({
    deployment: v.literal("convex"),
    tables: v.array(
      v.object({
        table: v.string(),
        rows: v.union(v.number(), v.null()),
        native: v.optional(vNative),
      }),
    ),
    leftOut: v.array(v.object({ table: v.string(), why: v.string() })),
    dimensions: v.array(v.number()),
    specialValues: v.boolean(),
    notes: v.array(v.string()),
  }),
  handler: async (ctx) => {
    const documents = new Documents(ctx.db);
    const own = [];
    for (const table of MOVED_TABLES) {
      const key = COUNTED[table];
      own.push({ table, rows: key === undefined ? null : await countOf(documents, key) });
    }
    const { tables: declared, leftOut } = nativeTables();
    const native = declared.map(({ name, dimension, idField, vectorField }) => ({
      table: name,
      rows: null,
      native: { dimension, idField, vectorField },
    }));
    return {
      deployment: "convex" as const,
      tables: [...own, ...native],
      leftOut: [...leftOut],
      dimensions: nativeDimensions(),
      specialValues: true,
      notes: [...NOTES],
    };
  },
});

/** Return the next rows of a table, in the order in which they were created. */
export const page = internalQuery({
  args: { table: v.string(), limit: vNumber, bytesMax: vNumber, cursor: vText },
  returns: v.object({
    rows: v.array(v.string()),
    notes: vNotes,
    cursor: v.union(v.string(), v.null()),
  }),
  handler: async (ctx, args) => {
    const table = text(args.table, "table");
    const limit = atMost(args.limit, "limit", TRANSFER_ROWS_MAX);
    const bytesMax = atMost(args.bytesMax, "bytesMax", TRANSFER_BYTES_MAX);
    const question = `transfer:${table}`;
    const place = placeIn(readCursor(args.cursor, question, ["number", "string"]));
    const rows: string[] = [];
    const notes: (number | string)[][] = [];
    let [lookedAt, bytes] = [0, 0];
    for await (const { row, isShown, noted } of rowsAfter(ctx.db, table, place)) {
      const written = isShown ? [rowText(withoutSystemFields(row))] : [];
      if (isShown && noted !== undefined) notes.push([rows.length, rowText(noted)]);
      rows.push(...written);
      lookedAt += 1;
      bytes += written[0]?.length ?? getDocumentSize(row);
      if (lookedAt >= limit || bytes >= bytesMax) {
        return { rows, notes, cursor: writeCursor(question, [row._creationTime, row._id]) };
      }
    }
    return { rows, notes, cursor: null };
  },
});

/** Store rows by their keys, from the first on; none of them when one is refused. */
export const restore = internalMutation({
  args: {
    table: v.string(),
    rows: v.array(v.string()),
    notes: given(vNotes),
    native: given(vNative),
    onExisting: vText,
    dryRun: given(v.boolean()),
  },
  returns: v.object({
    done: v.number(),
    stored: v.number(),
    replaced: v.number(),
    unchanged: v.number(),
    dropped: v.number(),
    kept: v.array(v.number()),
  }),
  handler: async (ctx, args) =>
    await following(ctx, async (documents) => {
      if (args.rows.length > TRANSFER_ROWS_MAX) {
        throw invalidArgument(`rows must be an array of at most ${TRANSFER_ROWS_MAX} rows.`);
      }
      const replace = choice(args.onExisting, "onExisting", ["keep", "replace"]) === "replace";
      const policy = { replace, dryRun: args.dryRun === true };
      const name = text(args.table, "table");
      const target = targetNamed(documents, name, args.native, policy, ctx.db);
      const notes = notesArgument(args.notes ?? [], args.rows.length);
      const outcomes: Outcome[] = [];
      for (const [position, row] of args.rows.entries()) {
        if (target.isFull && position > 0) break;
        const outcome = await restored(target, name, row, notes.get(position), position);
        if (outcome === undefined) break;
        outcomes.push(outcome);
      }
      return answerOf(outcomes);
    }),
});

/** A whole number from 1 to `most`, which it is when it is absent. */
function atMost(value: number | null | undefined, name: string, most: number): number {
  return whole(value ?? most, name, 1, most);
}

function placeIn(position: Part[] | null): Place | null {
  if (position === null) return null;
  const [created, id] = position;
  return { created: Number(created), id: String(id) };
}

function answerOf(outcomes: readonly Outcome[]) {
  const count = (wanted: Outcome) => outcomes.filter((outcome) => outcome === wanted).length;
  return {
    done: outcomes.length,
    stored: count("stored"),
    replaced: count("replaced"),
    unchanged: count("unchanged"),
    dropped: count("dropped"),
    kept: outcomes.flatMap((outcome, position) => (outcome === "kept" ? [position] : [])),
  };
}

/** The notes in `[[position, text]…]`, by position. */
function notesArgument(
  pairs: readonly (readonly (number | string)[])[],
  rows: number,
): ReadonlyMap<number, string> {
  const notes = new Map<number, string>();
  for (const [position, text, ...rest] of pairs) {
    if (typeof position !== "number" || typeof text !== "string" || rest.length > 0) {
      throw invalidArgument("notes must be pairs of the position of a row and text.");
    }
    notes.set(whole(position, "position", 0, Math.max(0, rows - 1)), text);
  }
  return notes;
}

async function restored(
  target: Target,
  table: string,
  row: string,
  noted: string | undefined,
  position: number,
): Promise<Outcome | undefined> {
  try {
    const notes = noted === undefined ? {} : checkedNotes(table, readRow(noted));
    return await target.restore(readRow(row), notes);
  } catch (error) {
    if (!isRefusal(error)) throw error;
    const { code, message, details } = error.data;
    throw new ConvexError({
      code,
      message: `rows[${position}]: ${message}`,
      details: { ...details, position },
    });
  }
}
