// Convex functions of one folder, bundled with esbuild and run by convex-test.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { convexTest } from 'convex-test';
import { makeFunctionReference } from 'convex/server';
import { lookUpQuickly } from './candidates.mjs';
import { FORMATS, argumentsFrom } from './wire.mjs';

// Bundles lie under node_modules so that the packages they leave external are found from there.
const BUNDLES = fileURLToPath(new URL('../../node_modules/.bridge/', import.meta.url));
const SKIPPED_FOLDERS = new Set(['_generated', 'node_modules']);
const FRAMES_MAX = 8;

/** A failure that the deployment itself reports, before or instead of running a function. */
export class FunctionRefused extends Error {}

function isEntryPoint(name) {
  // As Convex's bundler: `a.test.ts`, `a.d.ts` and the like are no modules.
  return /^[^.]+\.(ts|tsx|js|jsx|mjs)$/.test(name);
}

function entryPoints(folder) {
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const full = path.join(folder, entry.name);
    if (entry.isDirectory()) return SKIPPED_FOLDERS.has(entry.name) ? [] : entryPoints(full);
    return isEntryPoint(entry.name) ? [full] : [];
  });
}

/** Puts another module in the place of the folder's `schema`, also where its functions import it. */
function schemaFrom(file, folder) {
  const contents = `export * from ${JSON.stringify(file)};export { default } from ${JSON.stringify(file)};`;
  const inPlace = path.join(folder, 'schema.ts');
  return {
    name: 'schema',
    setup(bundling) {
      bundling.onLoad({ filter: /schema\.ts$/ }, ({ path: loaded }) =>
        loaded === inPlace ? { contents, resolveDir: folder, loader: 'ts' } : undefined,
      );
    },
  };
}

async function bundle(folder, entries, schema) {
  fs.mkdirSync(BUNDLES, { recursive: true });
  const out = fs.mkdtempSync(path.join(BUNDLES, 'functions-'));
  process.on('exit', () => fs.rmSync(out, { recursive: true, force: true }));
  await build({
    entryPoints: entries,
    outdir: out,
    outbase: folder,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'esnext',
    packages: 'external',
    sourcemap: 'linked',
    outExtension: { '.js': '.mjs' },
    logLevel: 'error',
    plugins: schema === undefined ? [] : [schemaFrom(schema, folder)],
  });
  return out;
}

/**
 * The functions under `folder`, and a schema when there is a `schema` module.
 *
 * @param folder A Convex functions folder.
 * @param limits Whether Convex's per-transaction limits are enforced.
 * @param schema A module that takes the place of `schema.ts`, as that of an app would.
 * @returns `{call, exportError, reset, rows}`; see there.
 */
export async function loadFunctions(folder, { limits = false, redact = false, schema } = {}) {
  process.setSourceMapsEnabled(true);
  const entries = entryPoints(folder);
  if (entries.length === 0) throw new Error(`${folder} holds no Convex functions.`);
  const out = await bundle(folder, entries, schema);
  const modules = new Map();
  for (const entry of entries) {
    const name = path
      .relative(folder, entry)
      .replace(/\.[^.]+$/, '')
      .split(path.sep)
      .join('/');
    modules.set(name, await import(pathToFileURL(path.join(out, `${name}.mjs`)).href));
  }
  return new Functions(folder, modules, { limits, redact });
}

class Functions {
  constructor(folder, modules, { limits, redact }) {
    this.folder = folder;
    this.modules = modules;
    this.limits = limits;
    this.redact = redact;
    this.reset();
  }

  /** Forget every stored row. Calls that are still running finish on the rows they began with. */
  reset() {
    const importable = { './_generated/api.js': async () => ({}) };
    for (const [name, module] of this.modules) {
      if (name !== 'schema') importable[`./${name}.js`] = async () => module;
    }
    const schema = this.modules.get('schema')?.default;
    this.deployment = convexTest({ schema, modules: importable, transactionLimits: this.limits });
    if (schema !== undefined) lookUpQuickly(this.deployment);
  }

  /** Store rows as they are, no function having a part in it; every row of the table then. */
  async rows(table, added) {
    return await this.deployment.run(async (ctx) => {
      for (const row of added) await ctx.db.insert(table, row);
      return await ctx.db.query(table).collect();
    });
  }

  /**
   * Run a function.
   *
   * @param kind `query`, `mutation`, `action`, or `any` for whatever the function is.
   * @param name Its path, `module:export`; `.js` after the module is accepted.
   * @param args The request's arguments, as JSON.
   * @param isAdmin Whether the caller showed the admin key; internal functions need it.
   */
  async call(kind, name, args, { isAdmin }) {
    const [module, exported = 'default'] = name.replace(/\.js(?=:|$)/, '').split(':');
    const actual = this.#kindOf(module, exported, isAdmin);
    if (actual === undefined) throw new FunctionRefused(missing(kind, module, exported));
    if (kind !== 'any' && kind !== actual) {
      throw new FunctionRefused(
        `Trying to execute ${module}.js:${exported} as ${title(kind)}, ` +
          `but it is defined as ${title(actual)}.`,
      );
    }
    const value = this.#parse(module, exported, args);
    const reference = makeFunctionReference(`${module}:${exported}`);
    return await this.deployment[actual](reference, value);
  }

  /** The error member of an answer: Convex's wrapping, and `errorData` of a ConvexError. */
  exportError(error, format, requestId) {
    const head = `[Request ID: ${requestId}] Server Error`;
    const isConvexError = Symbol.for('ConvexError') in Object(error);
    const answer = { status: 'error', errorMessage: head };
    if (!this.redact) answer.errorMessage += `\n${this.#describe(error, isConvexError)}\n`;
    if (isConvexError) answer.errorData = FORMATS.get(format)(error.data);
    return answer;
  }

  #kindOf(module, exported, isAdmin) {
    const found = module === 'schema' ? undefined : this.modules.get(module)?.[exported];
    if (!found || (found.isInternal && !isAdmin)) return undefined;
    return ['query', 'mutation', 'action'].find((kind) => found[`is${title(kind)}`]);
  }

  #parse(module, exported, args) {
    try {
      return argumentsFrom(args);
    } catch (error) {
      throw new FunctionRefused(`Invalid arguments for ${module}.js:${exported}: ${error.message}`);
    }
  }

  #describe(error, isConvexError) {
    if (error instanceof FunctionRefused) return error.message;
    if (isConvexError) return `Uncaught ConvexError: ${error.message}`;
    const frames = String(error?.stack ?? '')
      .split('\n')
      .filter((line) => /^\s+at /.test(line) && line.includes(this.folder))
      .slice(0, FRAMES_MAX)
      .map((line) => `    ${line.trim().replace(`${this.folder}${path.sep}`, '../convex/')}`);
    const text = String(error?.message ?? error);
    // convex-test has a word of its own for what the deployment calls an ArgumentValidationError.
    const message = text.replace(/^Validator error/, 'ArgumentValidationError');
    return [`Uncaught ${error?.name ?? 'Error'}: ${message}`, ...frames].join('\n');
  }
}

const title = (word) => word[0].toUpperCase() + word.slice(1);

function missing(kind, module, exported) {
  const name = exported === 'default' ? module : `${module}:${exported}`;
  return kind === 'any'
    ? `Could not find function for '${name}'. Did you forget to run \`npx convex dev\`?`
    : `Could not find public function for '${name}'.`;
}
