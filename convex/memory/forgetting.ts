/** `memory/forgetting:*`: what has expired, or was deleted long enough ago, goes. */
import { v } from "convex/values";
import { internalMutation } from "../_generated/server";
import { following } from "./lib/followed";
import { forgetSome } from "./lib/forgetting";

/** Delete a batch of what is due; say whether there was any. */
export const sweep = internalMutation({
  args: {},
  returns: v.object({ hasMore: v.boolean() }),
  handler: async (ctx) =>
    await following(ctx, async (documents) => ({ hasMore: await forgetSome(documents) })),
});
