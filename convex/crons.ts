/** The crons of a deployment that holds nothing but Convex Memory. */
import { cronJobs } from "convex/server";
import { addUpkeep } from "./lib/upkeepCrons";

const crons = cronJobs();
addUpkeep(crons);

export default crons;
