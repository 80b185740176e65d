// Quick look-ups for convex-test, which otherwise looks at every row of every table for each one.
//
// It keeps, of each table, the ids ever written, also by the values that indexed fields ever had.
// Those are candidates: convex-test itself still decides which of them a query finds, so a stale
// one costs a look and no more. This reaches into the database of convex-test 0.0.60, to which
// package.json pins it, and refuses any other shape.
import { AsyncLocalStorage } from 'node:async_hooks';

const METHODS = ['_addWrite', '_iterateDocs', '_resolveQuerySource', 'get'];
const NEITHER = Symbol('a value that is neither text, number nor boolean, nor null nor absent');

/** Let the queries of a deployment look at candidates only. */
export function lookUpQuickly(deployment) {
  const db = databaseOf(deployment);
  if (!METHODS.every((name) => typeof db?.[name] === 'function') || !db._schema) {
    throw new Error('convex-test is not as tests/bridge/candidates.mjs knows it.');
  }
  const candidates = new Candidates(db._schema.tables);
  const { _addWrite, _resolveQuerySource } = db;
  let source;
  db._addWrite = function (id, row) {
    candidates.add(id, row);
    return _addWrite.call(this, id, row);
  };
  db._resolveQuerySource = function (query) {
    source = query.source;
    return _resolveQuerySource.call(this, query);
  };
  db._iterateDocs = function (table, callback) {
    const range = source?.type === 'IndexRange' ? source.range : [];
    source = undefined;
    for (const id of candidates.of(table, range)) {
      const row = this.get(table, id);
      if (row !== null) callback(row);
    }
  };
}

/** The database behind a deployment, which convex-test keeps in the context of every call. */
function databaseOf(deployment) {
  const { run } = AsyncLocalStorage.prototype;
  let db;
  AsyncLocalStorage.prototype.run = function (store, ...rest) {
    db ??= store?.components?.['']?.db;
    return run.call(this, store, ...rest);
  };
  try {
    void deployment.finishInProgressScheduledFunctions();
  } finally {
    AsyncLocalStorage.prototype.run = run;
  }
  return db;
}

class Candidates {
  #ids = new Map();
  #byValue = new Map();

  constructor(tables) {
    for (const [table, { indexes }] of tables) {
      const fields = new Set(indexes.flatMap((index) => index.fields));
      this.#byValue.set(table, new Map([...fields].map((field) => [field, new Map()])));
    }
  }

  /** Take note of a row, or of its deletion, which changes nothing. */
  add(id, row) {
    if (row === null) return;
    const table = id.replace(/^\d+/, '');
    setIn(this.#ids, table).add(id);
    for (const [field, values] of this.#byValue.get(table) ?? []) {
      setIn(values, keyOf(row[field])).add(id);
    }
  }

  /** The ids of all rows of a table that may be in a range, in the order they were written. */
  of(table, range) {
    const all = this.#ids.get(table) ?? new Set();
    let fewest = all;
    for (const { type, fieldPath, value } of range) {
      const values = this.#byValue.get(table)?.get(fieldPath);
      const key = type === 'Eq' ? keyOf(valueOf(value)) : NEITHER;
      if (values === undefined || key === NEITHER || values.has(NEITHER)) continue;
      const found = values.get(key) ?? new Set();
      if (found.size < fewest.size) fewest = found;
    }
    return fewest;
  }
}

function setIn(sets, key) {
  let set = sets.get(key);
  if (set === undefined) sets.set(key, (set = new Set()));
  return set;
}

/** The value of a bound, as a query writes it. */
function valueOf(written) {
  return typeof written === 'object' && written !== null && '$undefined' in written
    ? undefined
    : written;
}

/** The same for values that are equal; others may share it. */
function keyOf(value) {
  if (value === null || value === undefined) return value;
  if (typeof value === 'object') return NEITHER;
  return Object.is(value, -0) ? 0 : value;
}
