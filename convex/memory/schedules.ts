/** `memory/schedules:claim`: the right to fire a schedule once, and its entry in the history. */
import { v } from "convex/values";
import { internalMutation } from "../_generated/server";
import { byRecordId, WritableDocuments } from "../lib/documents";
import { conflict, invalidArgument } from "../lib/errors";
import { text } from "./lib/arguments";
import { following } from "./lib/followed";

const SCHEDULES = "mastra_schedules";
const TRIGGERS = "mastra_schedule_triggers";

/** Move an active schedule on and record the trigger, unless somebody did; say whether. */
export const claim = internalMutation({
  args: {
    scheduleId: v.string(),
    expectedNextFireAt: v.number(),
    newNextFireAt: v.number(),
    trigger: v.record(v.string(), v.any()),
  },
  returns: v.boolean(),
  handler: async (ctx, args) =>
    await following(ctx, async (documents: WritableDocuments) => {
      const scheduleId = text(args.scheduleId, "scheduleId");
      const trigger: Record<string, unknown> = args.trigger;
      if (trigger["schedule_id"] !== scheduleId) {
        throw invalidArgument("trigger must be a trigger of this schedule.");
      }
      const schedule = await documents.first(SCHEDULES, byRecordId(scheduleId));
      if (schedule?.status !== "active" || schedule.next_fire_at !== args.expectedNextFireAt) {
        return false;
      }
      if ((await documents.first(TRIGGERS, byRecordId(trigger["id"]))) !== null) {
        throw conflict(`Schedule trigger with id '${String(trigger["id"])}' already exists`);
      }
      await documents.patch(SCHEDULES, schedule, {
        next_fire_at: args.newNextFireAt,
        last_fire_at: trigger["actual_fire_at"],
        last_run_id: trigger["run_id"],
        updated_at: Date.now(),
      });
      await documents.insert(TRIGGERS, trigger);
      return true;
    }),
});
