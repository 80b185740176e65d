#!/usr/bin/env node
// Convex functions of a folder behind Convex's HTTP function API, without a Convex deployment.
//
//   node tests/bridge/bridge.mjs --dir DIR [--schema FILE] [--port 3210] --admin-key KEY
//     [--limits] [--redact] [--until-stdin-ends]
//
// The functions run under convex-test; requests and answers have the shapes of a real deployment.
// Port 0 picks a free one. When it serves, one line with its URL goes to stderr. With
// --until-stdin-ends it ends with the process that holds its standard input open.
//
// For tests, with the admin key:
//   POST /api/reset {now_ms?}         forgets every row; the clock as below, without now_ms it runs
//   POST /api/clock {now_ms}          stops the clock that functions see; null lets it run
//   POST /api/rows  {table, rows?}    stores rows that no function would, and answers all there are
import { timingSafeEqual, createHash, randomBytes } from 'node:crypto';
import http from 'node:http';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { setClock } from './clock.mjs';
import { loadFunctions } from './functions.mjs';
import { FORMATS, serialize } from './wire.mjs';

const BODY_BYTES_MAX = (16 << 20) + 2000;
const USAGE =
  'usage: bridge.mjs --dir DIR [--schema FILE] [--port 3210] --admin-key KEY [--limits] [--redact]' +
  ' [--until-stdin-ends]';

/** A request the deployment answers with an HTTP status instead of a function's result. */
class RequestRefused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

function digest(text) {
  return createHash('sha256').update(text).digest();
}

class Bridge {
  constructor(functions, adminKey) {
    this.functions = functions;
    this.adminKeyDigest = digest(adminKey);
    this.routes = new Map([
      ['GET /', () => 'This Convex deployment is running.'],
      ['GET /version', () => 'unknown'],
      ['GET /instance_name', () => 'bridge'],
      ['GET /api/query', (request) => this.#getQuery(request)],
      ['POST /api/query', (request) => this.#run('query', request)],
      ['POST /api/mutation', (request) => this.#run('mutation', request)],
      ['POST /api/action', (request) => this.#run('action', request)],
      ['POST /api/function', (request) => this.#runAny(request)],
      ['POST /api/query_batch', (request) => this.#runBatch(request)],
      ['POST /api/reset', (request) => this.#reset(request)],
      ['POST /api/clock', (request) => this.#setClock(request)],
      ['POST /api/rows', (request) => this.#rows(request)],
    ]);
  }

  async handle(request, response) {
    const url = new URL(request.url, 'http://bridge');
    const id = request.headers['convex-request-id'] ?? randomBytes(8).toString('hex');
    const route = this.routes.get(`${request.method} ${url.pathname}`);
    try {
      if (!route) return send(response, 404, '');
      const isAdmin = this.#isAdmin(request, url);
      send(response, 200, await route({ request, url, id, isAdmin }));
    } catch (error) {
      if (error instanceof RequestRefused) {
        return send(response, error.status, { code: error.code, message: error.message });
      }
      process.stderr.write(`bridge: ${error?.stack ?? error}\n`);
      send(response, 500, {
        code: 'InternalServerError',
        message: "Your request couldn't be completed. Try again later.",
      });
    }
  }

  #isAdmin(request, url) {
    const header = request.headers.authorization;
    const given = header === undefined ? url.searchParams.get('adminKey') : adminKeyIn(header);
    if (!given) return false;
    if (!timingSafeEqual(digest(given), this.adminKeyDigest)) throw badKey();
    return true;
  }

  async #getQuery({ url, id, isAdmin }) {
    const question = {
      path: url.searchParams.get('path') ?? undefined,
      args: parseJson(url.searchParams.get('args') ?? '{}'),
      format: url.searchParams.get('format') ?? undefined,
    };
    return await this.#answer('query', question, { id, isAdmin });
  }

  async #run(kind, { request, id, isAdmin }) {
    return await this.#answer(kind, await body(request), { id, isAdmin });
  }

  async #runAny({ request, id, isAdmin }) {
    if (!isAdmin) throw badKey();
    return await this.#answer('any', await body(request), { id, isAdmin });
  }

  async #runBatch({ request, id, isAdmin }) {
    const { queries } = await body(request);
    if (!Array.isArray(queries)) throw badBody('missing field `queries`');
    const results = [];
    for (const question of queries) {
      results.push(await this.#answer('query', question, { id, isAdmin }));
    }
    return { results };
  }

  async #reset({ request, isAdmin }) {
    if (!isAdmin) throw badKey();
    const { now_ms: now = null } = 'content-type' in request.headers ? await body(request) : {};
    this.functions.reset();
    return this.#clockSet(now);
  }

  async #setClock({ request, isAdmin }) {
    if (!isAdmin) throw badKey();
    const { now_ms: now } = await body(request);
    return this.#clockSet(now);
  }

  #clockSet(now) {
    try {
      setClock(now);
    } catch (error) {
      throw badBody(error.message);
    }
    return { status: 'success', value: null };
  }

  async #rows({ request, isAdmin }) {
    if (!isAdmin) throw badKey();
    const { table, rows = [] } = await body(request);
    if (typeof table !== 'string' || !Array.isArray(rows)) throw badBody('missing field `table`');
    const value = await this.functions.rows(table, rows);
    return { status: 'success', value: FORMATS.get('json')(value) };
  }

  async #answer(kind, question, { id, isAdmin }) {
    const { path: name, args, format = 'json' } = question ?? {};
    if (name === undefined) throw badBody('missing field `path`');
    if (args === undefined) throw badBody('missing field `args`');
    if (typeof name !== 'string' || !/^[A-Za-z0-9_./]+(:[A-Za-z0-9_]+)?$/.test(name)) {
      throw new RequestRefused(
        400,
        'BadConvexFunctionIdentifier',
        `${name} is not a valid path to a Convex function.`,
      );
    }
    if (!FORMATS.has(format)) {
      throw new RequestRefused(
        400,
        'BadFormat',
        `format param must be one of [\`json\`]. Got ${format}`,
      );
    }
    try {
      const value = await this.functions.call(kind, name, args, { isAdmin });
      return { status: 'success', value: FORMATS.get(format)(value) };
    } catch (error) {
      return this.functions.exportError(error, format, id);
    }
  }
}

function adminKeyIn(header) {
  const [scheme, ...rest] = header.split(' ');
  if (scheme.toLowerCase() === 'convex') return rest.join(' ');
  if (scheme.toLowerCase() === 'bearer') {
    throw new RequestRefused(401, 'NoAuthProvider', 'No auth provider is configured here.');
  }
  throw new RequestRefused(400, 'InvalidAdminKey', 'Invalid admin key');
}

function badKey() {
  const message =
    "The provided deploy key was invalid for deployment 'bridge'. Double check that the " +
    'environment this key was generated for matches the desired deployment.';
  return new RequestRefused(403, 'BadDeployKey', message);
}

function badBody(why) {
  return new RequestRefused(400, 'BadJsonBody', `The JSON body cannot be used: ${why}.`);
}

function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw badBody(error.message);
  }
}

async function body(request) {
  if (!/^application\/([\w.+-]+\+)?json\b/.test(request.headers['content-type'] ?? '')) {
    throw badBody('it needs `Content-Type: application/json`');
  }
  const chunks = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) throw badBody('length limit exceeded');
    chunks.push(chunk);
  }
  return parseJson(Buffer.concat(chunks).toString('utf8'));
}

function send(response, status, answer) {
  const isText = typeof answer === 'string';
  response.writeHead(status, { 'content-type': isText ? 'text/plain' : 'application/json' });
  response.end(isText ? answer : serialize(answer));
}

function options() {
  const { values } = parseArgs({
    options: {
      dir: { type: 'string' },
      schema: { type: 'string' },
      port: { type: 'string', default: '3210' },
      'admin-key': { type: 'string' },
      limits: { type: 'boolean', default: false },
      redact: { type: 'boolean', default: false },
      'until-stdin-ends': { type: 'boolean', default: false },
    },
  });
  if (!values.dir || !values['admin-key']) throw new Error(USAGE);
  return values;
}

/** Ends this process as soon as nobody holds its standard input open any more. */
function endWithStdin() {
  process.stdin.on('close', () => process.exit(0)).resume();
}

async function main() {
  const { dir, schema, port, 'admin-key': adminKey, limits, redact, ...rest } = options();
  if (rest['until-stdin-ends']) endWithStdin();
  const functions = await loadFunctions(path.resolve(dir), {
    limits,
    redact,
    schema: schema === undefined ? undefined : path.resolve(schema),
  });
  const bridge = new Bridge(functions, adminKey);
  const server = http.createServer((request, response) => bridge.handle(request, response));
  // Whoever tests may be long about it and still find the connection as they left it.
  server.keepAliveTimeout = 0;
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));
  server.listen(Number(port), '127.0.0.1', () => {
    process.stderr.write(`bridge serves ${dir} on http://127.0.0.1:${server.address().port}\n`);
  });
}

try {
  await main();
} catch (error) {
  process.stderr.write(`bridge: ${error.message}\n`);
  process.exit(1);
}
