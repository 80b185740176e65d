#!/usr/bin/env node
// The published Mastra adapters (npm @mastra/convex) against a deployment.
//
//   node tests/bridge/mastra_clients.mjs URL KEY [DOMAIN…]
//
// One line per check, then `N passed, N failed`; the exit code is 1 when a check failed. Ids are
// unique to the run and removed at the end, so the deployment may be one that others use.
import { Checks, uniqueNamespace } from './harness.mjs';

// To add a domain: a module that exports `name` and `run({connection, namespace, check, tidy})`.
const DOMAINS = [
  await import('./domains/connection.mjs'),
  await import('./domains/threads.mjs'),
  await import('./domains/messages.mjs'),
  await import('./domains/message_pages.mjs'),
  await import('./domains/resources.mjs'),
  await import('./domains/vector.mjs'),
  await import('./domains/vector_changes.mjs'),
  await import('./domains/vector_filters.mjs'),
  await import('./domains/native_vector.mjs'),
  await import('./domains/native_vector_changes.mjs'),
  await import('./domains/cache.mjs'),
  await import('./domains/workflows.mjs'),
  await import('./domains/workflow_merges.mjs'),
  await import('./domains/schedules.mjs'),
  await import('./domains/schedule_fires.mjs'),
  await import('./domains/background_tasks.mjs'),
  await import('./domains/background_task_lists.mjs'),
  await import('./domains/observations.mjs'),
  await import('./domains/observation_changes.mjs'),
  await import('./domains/observation_swaps.mjs'),
  await import('./domains/observation_reflections.mjs'),
  await import('./domains/scores.mjs'),
  await import('./domains/channels.mjs'),
];

function chosen(names) {
  const known = DOMAINS.map(({ name }) => name);
  const unknown = names.filter((name) => !known.includes(name));
  if (unknown.length > 0) {
    throw new Error(`No domain ${unknown.join(', ')}; there are ${known.join(', ')}.`);
  }
  return names.length === 0 ? DOMAINS : DOMAINS.filter(({ name }) => names.includes(name));
}

async function main([url, key, ...names]) {
  if (!url || !key) throw new Error('usage: mastra_clients.mjs URL KEY [DOMAIN…]');
  const connection = { url: url.replace(/\/+$/, ''), key };
  const checks = new Checks();
  for (const domain of chosen(names)) {
    const context = { connection, namespace: uniqueNamespace() };
    await checks.domain(domain.name, (tools) => domain.run({ ...context, ...tools }));
  }
  return checks.report();
}

try {
  process.exitCode = (await main(process.argv.slice(2))) ? 0 : 1;
} catch (error) {
  process.stderr.write(`${error.stack}\n`);
  process.exitCode = 2;
}
