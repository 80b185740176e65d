#!/usr/bin/env node
// A Convex project for the live legs of the contract suite: our functions, and the tables of tests.
//
//   node tests/bridge/live_project.mjs DIR
//
// DIR must not exist. docs/testing-live.md says what to do with it.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const BRIDGE = path.join(ROOT, 'tests', 'bridge');
const TABLES = ['contract_tables.ts', 'vector_table.ts'];

function write(folder) {
  const functions = path.join(folder, 'convex');
  const tests = path.join(functions, 'tests');
  fs.cpSync(path.join(ROOT, 'convex'), functions, { recursive: true });
  fs.mkdirSync(tests);
  for (const name of TABLES) fs.copyFileSync(path.join(BRIDGE, name), path.join(tests, name));
  const schema = fs.readFileSync(path.join(BRIDGE, 'our_functions', 'schema.ts'), 'utf8');
  fs.writeFileSync(
    path.join(functions, 'schema.ts'),
    schema.replaceAll("'../../../convex/", "'./").replaceAll("'../", "'./tests/"),
  );
  const { devDependencies } = JSON.parse(fs.readFileSync(path.join(ROOT, 'package.json'), 'utf8'));
  const manifest = {
    name: 'convex-memory-live',
    private: true,
    type: 'module',
    devDependencies: { convex: devDependencies.convex, typescript: devDependencies.typescript },
  };
  fs.writeFileSync(path.join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
}

const [folder] = process.argv.slice(2);
if (!folder || fs.existsSync(folder)) {
  process.stderr.write('usage: live_project.mjs DIR, a folder that does not exist yet\n');
  process.exit(2);
}
write(path.resolve(folder));
process.stdout.write(`${folder}: our functions and the tables of tests, ready to deploy\n`);
