/** What the action `memory/principal:action` reads: under which names a principal's rows stand. */
import { type Value, v } from "convex/values";
import { internalQuery } from "../_generated/server";
import { Documents } from "../lib/documents";
import { forbidden } from "../lib/errors";
import { Namespace } from "./lib/namespaces";
import { ruleFor } from "./lib/policy";

/** Return the arguments of an action with the principal's names as they are stored. */
export const stored = internalQuery({
  args: { principal: v.string(), path: v.string(), args: v.any() },
  returns: v.any(),
  handler: async (ctx, { principal, path, args }) => {
    const rule = ruleFor(path, args as Record<string, Value>);
    if (rule === undefined) throw forbidden(`${path} is not for callers from outside.`);
    const inside = new Namespace(new Documents(ctx.db), principal);
    return (await inside.put(rule.takes, args as Record<string, Value>)) as Value;
  },
});
