#!/usr/bin/env node
// Whether convex/_generated is what Convex's CLI makes of the functions as they are; offline.
//
//   node tests/functions/generated.mjs          fails when it is not, and names the files
//   node tests/functions/generated.mjs --write  makes it anew
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const GENERATED = path.join('convex', '_generated');

/** Have the CLI write `_generated` for the project in `folder`. */
function generate(folder) {
  // With this flag the CLI generates from the source alone, without asking a deployment.
  const cli = path.join(ROOT, 'node_modules', 'convex', 'bin', 'main.js');
  const options = ['codegen', '--system-udfs', '--typecheck', 'disable'];
  const done = spawnSync(process.execPath, [cli, ...options], { cwd: folder, encoding: 'utf8' });
  if (done.status !== 0) throw new Error(`convex codegen failed:\n${done.stdout}${done.stderr}`);
}

function filesIn(folder) {
  const names = fs.readdirSync(folder).sort();
  return new Map(names.map((name) => [name, fs.readFileSync(path.join(folder, name), 'utf8')]));
}

/** The names of the files that differ from what the CLI makes in a copy of the project. */
function stale() {
  const copy = fs.mkdtempSync(path.join(os.tmpdir(), 'functions-'));
  try {
    for (const name of ['package.json', 'convex.json', 'convex']) {
      fs.cpSync(path.join(ROOT, name), path.join(copy, name), { recursive: true });
    }
    fs.rmSync(path.join(copy, GENERATED), { recursive: true });
    fs.symlinkSync(path.join(ROOT, 'node_modules'), path.join(copy, 'node_modules'), 'dir');
    generate(copy);
    const [fresh, committed] = [copy, ROOT].map((folder) => filesIn(path.join(folder, GENERATED)));
    const names = new Set([...fresh.keys(), ...committed.keys()]);
    return [...names].filter((name) => fresh.get(name) !== committed.get(name));
  } finally {
    fs.rmSync(copy, { recursive: true, force: true });
  }
}

if (process.argv.includes('--write')) {
  generate(ROOT);
} else {
  const names = stale();
  if (names.length > 0) {
    const files = names.map((name) => path.join(GENERATED, name)).join(', ');
    process.stderr.write(`Stale: ${files}. Run npm run functions:generate.\n`);
    process.exitCode = 1;
  }
}
