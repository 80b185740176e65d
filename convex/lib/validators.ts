/** Validators of arguments and answers that several functions share. */
import { v } from "convex/values";

/**
 * A request of the wire protocol: an object whose members depend on its `op`.
 *
 * Mastra's own functions declare no validator for it, and its adapters send members that a closed
 * one would refuse. So anything is let in here, and each operation checks the members it reads.
 */
export const wireRequest = v.any();

/** The envelope that a function of the wire protocol answers with. */
export const wireReply = v.union(
  v.object({
    ok: v.literal(true),
    result: v.optional(v.any()),
    hasMore: v.optional(v.boolean()),
    continuationCursor: v.optional(v.string()),
  }),
  v.object({ ok: v.literal(false), error: v.string() }),
);
