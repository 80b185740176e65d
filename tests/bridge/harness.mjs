// What the domains are written with: named checks, tidying up, and a raw call of a function.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';

const CHECK_TIMEOUT_MS = 60_000;

/** Checks that run one after the other, each with a sentence that says what holds. */
export class Checks {
  #tidying = [];
  #domain = '';

  constructor(print = console.log) {
    this.print = print;
    this.passed = 0;
    this.failed = 0;
  }

  /** Run the checks of a domain and tidy up after it, also when the domain itself fails. */
  async domain(name, run) {
    this.#domain = name;
    try {
      await run({ check: this.check, tidy: this.tidy });
    } catch (error) {
      this.#fail('what its checks need can be prepared', error);
    }
    await this.check('everything written here is removed again', () => this.#tidyUp());
  }

  /** Run one check. A failure is printed and counted, and the next check runs all the same. */
  check = async (sentence, body) => {
    try {
      await withinTime(body());
      this.passed += 1;
      this.print(`ok    ${this.#domain}: ${sentence}`);
    } catch (error) {
      this.#fail(sentence, error);
    }
  };

  /** Remove something at the end of the domain, whatever happens until then; last in, first out. */
  tidy = (body) => {
    this.#tidying.push(body);
  };

  /** Print the closing line; true when nothing failed and something ran. */
  report() {
    this.print(`${this.passed} passed, ${this.failed} failed`);
    return this.failed === 0 && this.passed > 0;
  }

  #fail(sentence, error) {
    this.failed += 1;
    this.print(`FAIL  ${this.#domain}: ${sentence}\n${indented(error)}`);
  }

  async #tidyUp() {
    const outcomes = [];
    for (const body of this.#tidying.splice(0).reverse()) {
      outcomes.push(...(await Promise.allSettled([body()])));
    }
    const failure = outcomes.find(({ status }) => status === 'rejected');
    if (failure) throw failure.reason;
  }
}

async function withinTime(work) {
  let timer;
  const late = new Promise((_resolve, reject) => {
    const message = `no result within ${CHECK_TIMEOUT_MS / 1000} s`;
    timer = setTimeout(() => reject(new Error(message)), CHECK_TIMEOUT_MS);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

function indented(error) {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return text.replace(/^/gm, '      ');
}

/** A name that no other run uses, for the ids of everything a run writes. */
export function uniqueNamespace() {
  return `cc_${Date.now().toString(36)}_${randomBytes(4).toString('hex')}`;
}

/** Call a function as the adapters do; its value, or an Error with the deployment's message. */
export async function callFunction({ url, key }, kind, path, args) {
  const response = await fetch(`${url}/api/${kind}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Authorization: `Convex ${key}` },
    body: JSON.stringify({ path, args, format: 'json' }),
  });
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
  const answer = await response.json();
  if (answer.status !== 'success') throw new Error(answer.errorMessage);
  return answer.value;
}

/** Call the storage function; the `result` of its reply. */
export async function callStorage(connection, request) {
  const reply = await callFunction(connection, 'mutation', 'mastra/storage:handle', request);
  if (!reply.ok) throw new Error(reply.error);
  return reply.result;
}

/** The error that `work` ends with. Its text is matched with "contains": deployments wrap it. */
export async function failure(work, text) {
  const error = await work.then(
    (value) => assert.fail(`expected a failure, got ${JSON.stringify(value)}`),
    (reason) => reason,
  );
  if (error instanceof assert.AssertionError) throw error;
  if (text !== undefined) {
    assert.ok(error.message.includes(text), `"${error.message}" does not contain "${text}"`);
  }
  return error;
}

/** A stored row without the fields that the deployment adds. */
export function withoutSystemFields({ _id, _creationTime, ...row }) {
  return row;
}

/** The value, or the reason why the deployment refuses it; for what deployments may decide. */
export async function outcome(work) {
  return await work.then(
    (value) => ({ value }),
    (error) => ({ refusal: error.message }),
  );
}

/** Check that a refusal names a field, as it is or with its other characters escaped. */
export function assertNames(refusal, field) {
  const escape = (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  const escaped = field.replace(/[^\x20-\x7e]/g, escape);
  const isNamed = refusal.includes(field) || refusal.includes(escaped);
  assert.ok(isNamed, `"${refusal}" does not name ${field}`);
}

/** Ask again until `isThere` holds of the answer, for what depends on the deployment's clock. */
export async function eventually(ask, isThere, deadline_ms = 10_000) {
  const end = Date.now() + deadline_ms;
  for (;;) {
    const answer = await ask();
    if (isThere(answer)) return answer;
    if (Date.now() > end) assert.fail(`still ${JSON.stringify(answer)} after ${deadline_ms} ms`);
  }
}

export function assertNear(actual, expected, tolerance = 1e-5) {
  const distance = Math.abs(actual - expected);
  assert.ok(distance <= tolerance, `${actual} is not within ${tolerance} of ${expected}`);
}

/** The whole numbers from `start` up to and without `end`. */
export function range(start, end) {
  return Array.from({ length: end - start }, (_, index) => start + index);
}
