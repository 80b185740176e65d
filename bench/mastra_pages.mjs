// Reads messages with npm @mastra/convex's ConvexStore, one read for each line of stdin.
//
//   node bench/mastra_pages.mjs URL KEY
//
// A line is the JSON of what listMessages takes; the answer is a line {ms, ids}.
import readline from 'node:readline';
import { ConvexStore } from '@mastra/convex';

const [deploymentUrl, adminAuthToken] = process.argv.slice(2);
const store = new ConvexStore({ id: 'bench', deploymentUrl, adminAuthToken });
const memory = await store.getStore('memory');

for await (const line of readline.createInterface({ input: process.stdin })) {
  const question = JSON.parse(line);
  const began = performance.now();
  const { messages } = await memory.listMessages(question);
  const ms = performance.now() - began;
  process.stdout.write(`${JSON.stringify({ ms, ids: messages.map(({ id }) => id) })}\n`);
}
