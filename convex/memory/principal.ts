/**
 * `memory/principal:*`: another function, run for one principal and on what is theirs alone.
 *
 * The gate of everybody who calls from outside. It stands in the deployment, in the transaction of
 * the function that it runs, so that no caller of the deployment has to be trusted to name the
 * right resource. `lib/policy.ts` says what passes.
 *
 * What a principal names is stored in the principal's name space. A thread or message that another
 * program stored with the principal as its resource, under a name outside, is the principal's too
 * and goes by that name. So an id of somebody else is an id that is free.
 */
import { type FunctionReference, makeFunctionReference } from "convex/server";
import { type Value, v } from "convex/values";
import { internalAction, internalMutation, internalQuery } from "../_generated/server";
import { Documents } from "../lib/documents";
import { forbidden, invalidArgument, isRefusal, refusedAnew } from "../lib/errors";
import { isObject } from "../lib/values";
import { text } from "./lib/arguments";
import { Namespace, taken, unquoted } from "./lib/namespaces";
import { type Rule, ruleFor } from "./lib/policy";
import { mayBePrincipal, PRINCIPAL_RULE } from "./lib/principals";

type Args = Record<string, Value>;
type Call = { principal: string; path: string; args: Args };

const call = { principal: v.string(), path: v.string(), args: v.any() };
const STORED = makeFunctionReference<"query", Call, Args>("memory/principalRows:stored");

/** Run a query for a principal. */
export const query = internalQuery({
  args: call,
  returns: v.any(),
  handler: async (ctx, given): Promise<Value> => {
    const { rule, args } = admitted(given, "query");
    return await told(given, rule, async () => {
      const inside = new Namespace(new Documents(ctx.db), given.principal);
      const placed = (await inside.put(rule.takes, args)) as Args;
      return await ctx.runQuery(named<"query">(given.path), placed);
    });
  },
});

/** Run a mutation for a principal, in this transaction. */
export const mutation = internalMutation({
  args: call,
  returns: v.any(),
  handler: async (ctx, given): Promise<Value> => {
    const { rule, args } = admitted(given, "mutation");
    return await told(given, rule, async () => {
      const inside = new Namespace(new Documents(ctx.db), given.principal);
      const placed = (await inside.put(rule.takes, args)) as Args;
      return await ctx.runMutation(named<"mutation">(given.path), placed);
    });
  },
});

/** Run an action for a principal. */
export const action = internalAction({
  args: call,
  returns: v.any(),
  handler: async (ctx, given): Promise<Value> => {
    const { principal, path } = given;
    const { rule, args } = admitted(given, "action");
    return await told(given, rule, async () => {
      const placed = await ctx.runQuery(STORED, { principal, path, args });
      return await ctx.runAction(named<"action">(path), placed);
    });
  },
});

function admitted(given: Record<string, unknown>, kind: Rule["kind"]): { rule: Rule; args: Args } {
  const { principal, path, args } = given as Call;
  if (!mayBePrincipal(text(principal, "principal"))) throw invalidArgument(PRINCIPAL_RULE);
  if (!isObject(args)) throw invalidArgument("args must be an object.");
  const rule = ruleFor(text(path, "path"), args);
  if (rule?.kind !== kind) throw forbidden(`${path} is not for callers from outside.`);
  return { rule, args };
}

function named<Kind extends Rule["kind"]>(
  path: string,
): FunctionReference<Kind, "public", Args, Value> {
  return makeFunctionReference<Kind, Args, Value>(path);
}

/** What a function answers or refuses with, in the principal's own names. */
async function told(
  { principal }: { principal: string },
  rule: Rule,
  run: () => Promise<Value>,
): Promise<Value> {
  try {
    return taken(principal, rule.gives, await run()) as Value;
  } catch (error) {
    if (!isRefusal(error)) throw error;
    throw refusedAnew(error, unquoted(principal, error.data.message));
  }
}
