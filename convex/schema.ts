/** The schema of a deployment that holds nothing but Convex Memory. */
import { defineSchema } from "convex/server";
import { memoryTables } from "./lib/tables";

export { memoryTables };

export default defineSchema(memoryTables);
