import { expect, test } from "vitest";
import { internal } from "../../convex/_generated/api";
import { emptyDeployment, refusalOf, storage } from "./deployment";

const schedule = {
  id: "s",
  target: "{}",
  cron: "* * * * *",
  status: "active",
  next_fire_at: 1000,
  created_at: 0,
  updated_at: 0,
};

function claimed(id: string, scheduleId = "s") {
  return {
    scheduleId,
    expectedNextFireAt: 1000,
    newNextFireAt: 2000,
    trigger: {
      id,
      schedule_id: "s",
      outcome: "claimed",
      trigger_kind: "schedule-fire",
      run_id: "r",
      scheduled_fire_at: 1000,
      actual_fire_at: 1500,
    },
  };
}

test("a fire is claimed and recorded once", async () => {
  const deployment = emptyDeployment();
  await storage(deployment, "createSchedule", "mastra_schedules", { record: schedule });
  const { claim } = internal.memory.schedules;
  expect(await deployment.mutation(claim, claimed("t1"))).toBe(true);
  expect(await deployment.mutation(claim, claimed("t2"))).toBe(false);
  const moved = await storage(deployment, "load", "mastra_schedules", { keys: { id: "s" } });
  expect(moved.result).toMatchObject({ next_fire_at: 2000, last_fire_at: 1500, last_run_id: "r" });
  const history = await storage(deployment, "listScheduleTriggers", "mastra_schedule_triggers", {
    scheduleId: "s",
  });
  expect(history.result).toMatchObject([{ id: "t1", outcome: "claimed" }]);
});

test("a trigger of another schedule, or one that is there already, is refused", async () => {
  const deployment = emptyDeployment();
  await storage(deployment, "createSchedule", "mastra_schedules", { record: schedule });
  const { claim } = internal.memory.schedules;
  const other = await refusalOf(deployment.mutation(claim, claimed("t1", "another")));
  expect(other.code).toBe("invalid_argument");
  await deployment.mutation(claim, claimed("t1"));
  const again = { ...claimed("t1"), expectedNextFireAt: 2000 };
  expect((await refusalOf(deployment.mutation(claim, again))).code).toBe("conflict");
});
