/**
 * What a deployment does by itself, for `crons.ts` or for the crons of the app it lives in:
 *
 * ```ts
 * import { addUpkeep } from "./lib/upkeepCrons";
 * const crons = cronJobs();
 * addUpkeep(crons);
 * export default crons;
 * ```
 */
import { type Crons, makeFunctionReference } from "convex/server";

/** The mutation that removes what nobody will read any more. */
export const SWEEP = makeFunctionReference<"mutation", Record<string, never>, null>(
  "memory/upkeep:sweep",
);

/** The mutation that deletes what has expired, or was deleted long enough ago. */
export const FORGET = makeFunctionReference<"mutation", { hourly?: boolean }, null>(
  "memory/upkeep:forget",
);

/** Have what nobody will read any more, and what is to be forgotten, removed every hour. */
export function addUpkeep(crons: Crons): void {
  crons.interval("memory upkeep", { hours: 1 }, SWEEP, {});
  crons.interval("memory forgetting", { hours: 1 }, FORGET, { hourly: true });
}
