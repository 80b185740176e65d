// ConvexServerCache.
import assert from 'node:assert/strict';
import { assertNames, eventually, failure, outcome, range } from '../harness.mjs';
import { openCache } from './adapters.mjs';

export const name = 'cache';

export async function run({ connection, namespace, check, tidy }) {
  const open = (label, options = {}) => {
    const cache = openCache(connection, { keyPrefix: `${namespace}:${label}:`, ...options });
    tidy(() => cache.clear());
    return cache;
  };
  const context = { open, check };
  await values(context);
  await lists(context);
  await counters(context);
  await expiry(context);
  await kinds(context);
  await removing(context);
}

const push = async (cache, key, items) => {
  for (const item of items) await cache.listPush(key, item);
};

async function values({ open, check }) {
  const cache = open('values');

  await check('a value comes back as it was set', async () => {
    const samples = [
      { a: [1, { b: null }], c: '$ключ' },
      [],
      'text 🗂',
      '',
      0,
      -1.5,
      1e21,
      false,
      null,
    ];
    for (const value of samples) {
      await cache.set('value', value);
      assert.deepEqual(await cache.get('value'), value);
    }
  });

  await check('a member name that Convex reserves is refused by name or kept', async () => {
    for (const [index, member] of ['$schema', 'ключ'].entries()) {
      const value = { [member]: 1 };
      const { refusal } = await outcome(cache.set(`reserved ${index}`, value));
      if (refusal) assertNames(refusal, member);
      assert.deepEqual(await cache.get(`reserved ${index}`), refusal ? null : value);
    }
  });

  await check('a key that was never set is null', async () => {
    assert.equal(await cache.get('absent'), null);
  });

  await check('a key may hold any text', async () => {
    const key = 'spaces and / slashes: ключ 🔑 "quoted"';
    await cache.set(key, 'found');
    assert.equal(await cache.get(key), 'found');
  });

  await check('keys of another prefix are other keys', async () => {
    const neighbour = open('neighbour');
    await cache.set('shared', 1);
    await neighbour.set('shared', 2);
    assert.deepEqual([await cache.get('shared'), await neighbour.get('shared')], [1, 2]);
  });
}

async function lists({ open, check }) {
  const cache = open('lists');
  const items = range(0, 60).map((n) => ({ n, text: `item ${n}` }));
  await push(cache, 'long', items);

  await check('60 pushed items come back in order', async () => {
    assert.equal(await cache.listLength('long'), 60);
    assert.deepEqual(await cache.listFromTo('long', 0), items);
  });

  await check('both ends of a range are inclusive', async () => {
    assert.deepEqual(await cache.listFromTo('long', 25, 27), items.slice(25, 28));
    assert.deepEqual(await cache.listFromTo('long', 59, 59), [items[59]]);
  });

  await check('a negative position counts from the end', async () => {
    assert.deepEqual(await cache.listFromTo('long', -3), items.slice(-3));
    assert.deepEqual(await cache.listFromTo('long', -5, -3), items.slice(55, 58));
    assert.deepEqual(await cache.listFromTo('long', 58, -1), items.slice(58));
    assert.deepEqual(await cache.listFromTo('long', 0, -60), [items[0]]);
  });

  await check('a range is cut at the ends of the list', async () => {
    assert.deepEqual(await cache.listFromTo('long', -100, 1), items.slice(0, 2));
    assert.deepEqual(await cache.listFromTo('long', 57, 1000), items.slice(57));
  });

  await check('a range outside the list, or the wrong way round, is empty', async () => {
    assert.deepEqual(await cache.listFromTo('long', 60), []);
    assert.deepEqual(await cache.listFromTo('long', 5, 4), []);
    assert.deepEqual(await cache.listFromTo('long', 0, -61), []);
  });

  await check('a list that does not exist is empty and has length 0', async () => {
    assert.deepEqual(await cache.listFromTo('absent', 0), []);
    assert.equal(await cache.listLength('absent'), 0);
  });

  await check('items pushed at the same time are all kept', async () => {
    const numbers = range(0, 30);
    await Promise.all(numbers.map((n) => cache.listPush('parallel', n)));
    const stored = await cache.listFromTo('parallel', 0);
    assert.deepEqual(
      stored.sort((a, b) => a - b),
      numbers,
    );
    assert.equal(await cache.listLength('parallel'), 30);
  });
}

async function counters({ open, check }) {
  const cache = open('counters');

  await check('a counter starts at 1 and counts up', async () => {
    const counted = [];
    for (let n = 0; n < 3; n += 1) counted.push(await cache.increment('steps'));
    assert.deepEqual(counted, [1, 2, 3]);
  });

  await check('increments at the same time give each number once', async () => {
    const counted = await Promise.all(range(0, 25).map(() => cache.increment('parallel')));
    assert.deepEqual(
      counted.sort((a, b) => a - b),
      range(1, 26),
    );
  });
}

async function expiry({ open, check }) {
  const lasting = open('expiry', { ttlMs: 0 });
  const passing = open('expiry', { ttlMs: 1 });

  await check('a value is gone once its time is over', async () => {
    await lasting.set('value', 'soon gone', 1);
    await eventually(
      () => lasting.get('value'),
      (value) => value === null,
    );
  });

  await check('a value set again lives by its new time', async () => {
    await lasting.set('renewed', 'first', 1);
    await lasting.set('renewed', 'second', 60_000);
    assert.equal(await lasting.get('renewed'), 'second');
  });

  await check('without a time to live a value stays', async () => {
    await lasting.set('kept', 'still here');
    await lasting.set('passing', 1, 1);
    await eventually(
      () => lasting.get('passing'),
      (value) => value === null,
    );
    assert.equal(await lasting.get('kept'), 'still here');
  });

  /** Wait until what was written before is over, without touching it: reading cleans up, too. */
  const passed = async (label) => {
    await lasting.set(label, 1, 1);
    await eventually(
      () => lasting.get(label),
      (value) => value === null,
    );
  };

  await check('a list whose time is over is empty', async () => {
    await push(lasting, 'over', range(0, 40));
    await passing.listPush('over', 40);
    await passed('over marker');
    assert.deepEqual(await lasting.listFromTo('over', 0), []);
    assert.equal(await lasting.listLength('over'), 0);
  });

  await check('a push onto a list whose time is over begins a new list', async () => {
    await push(lasting, 'list', range(0, 40));
    await passing.listPush('list', 40);
    await passed('list marker');
    await push(lasting, 'list', ['new']);
    assert.deepEqual(await lasting.listFromTo('list', 0), ['new']);
    assert.equal(await lasting.listLength('list'), 1);
  });

  await check('a push onto a value whose time is over begins a list', async () => {
    await lasting.set('was value', 'old', 1);
    await passed('value marker');
    await lasting.listPush('was value', 'new');
    assert.deepEqual(await lasting.listFromTo('was value', 0), ['new']);
  });

  await check('a push renews the time of the whole list', async () => {
    const brief = open('expiry', { ttlMs: 60_000 });
    await push(brief, 'renewed list', [1, 2]);
    await lasting.listPush('renewed list', 3);
    assert.deepEqual(await lasting.listFromTo('renewed list', 0), [1, 2, 3]);
  });

  await check('a counter whose time is over starts at 1 again', async () => {
    await lasting.increment('counter');
    await passing.increment('counter');
    await passed('counter marker');
    assert.deepEqual(
      [await lasting.increment('counter'), await lasting.increment('counter')],
      [1, 2],
    );
  });
}

async function kinds({ open, check }) {
  const cache = open('kinds');
  const prefix = cache.keyPrefix;
  await cache.set('value', { v: 1 });
  await push(cache, 'list', [1, 2]);
  await cache.increment('counter');

  await check('a value or a counter cannot be used as a list', async () => {
    for (const key of ['value', 'counter']) {
      const text = `${prefix}${key} exists but is not an array`;
      await failure(cache.listPush(key, 1), text);
      await failure(cache.listLength(key), text);
      assert.deepEqual(await cache.listFromTo(key, 0), []);
    }
  });

  await check('a value or a list cannot be counted', async () => {
    for (const key of ['value', 'list']) {
      await failure(cache.increment(key), `${prefix}${key} exists but is not a number`);
    }
  });

  await check('a list or a counter is null as a value', async () => {
    assert.deepEqual([await cache.get('list'), await cache.get('counter')], [null, null]);
  });

  await check('a refused call leaves what was there', async () => {
    assert.deepEqual(await cache.get('value'), { v: 1 });
    assert.deepEqual(await cache.listFromTo('list', 0), [1, 2]);
    assert.equal(await cache.increment('counter'), 2);
  });

  await check('a value set over a list of 60 replaces it', async () => {
    await push(cache, 'replaced', range(0, 60));
    await cache.set('replaced', 'value now');
    assert.equal(await cache.get('replaced'), 'value now');
    assert.deepEqual(await cache.listFromTo('replaced', 0), []);
    await cache.delete('replaced');
    await push(cache, 'replaced', ['list again']);
    assert.deepEqual(await cache.listFromTo('replaced', 0), ['list again']);
  });

  await check('a value set over a counter replaces it', async () => {
    await cache.increment('recounted');
    await cache.set('recounted', 7);
    assert.equal(await cache.get('recounted'), 7);
  });
}

async function removing({ open, check }) {
  await check('a deleted value, list or counter begins anew', async () => {
    const cache = open('delete');
    await cache.set('value', 1);
    await push(cache, 'list', range(0, 60));
    await cache.increment('counter');
    for (const key of ['value', 'list', 'counter', 'absent']) await cache.delete(key);
    assert.equal(await cache.get('value'), null);
    assert.deepEqual([await cache.listLength('list'), await cache.listFromTo('list', 0)], [0, []]);
    assert.equal(await cache.increment('counter'), 1);
    await push(cache, 'list', ['first']);
    assert.deepEqual(await cache.listFromTo('list', 0), ['first']);
  });

  await check('clearing removes every key of the prefix, long lists too', async () => {
    const cache = open('clear');
    await Promise.all(range(0, 40).map((n) => cache.set(`value ${n}`, n)));
    for (const key of ['list a', 'list b']) await push(cache, key, range(0, 30));
    await cache.increment('counter');
    await cache.clear();
    const left = await Promise.all(range(0, 40).map((n) => cache.get(`value ${n}`)));
    assert.deepEqual(left, Array(40).fill(null));
    assert.deepEqual([await cache.listLength('list a'), await cache.listLength('list b')], [0, 0]);
    assert.equal(await cache.increment('counter'), 1);
  });

  await check('clearing leaves longer and shorter prefixes alone', async () => {
    const [outer, middle, inner] = ['nest:', 'nest:a:', 'nest:a:b:'].map((label) => open(label));
    for (const cache of [outer, middle, inner]) {
      await cache.set('key', cache.keyPrefix);
      await push(cache, 'list', [cache.keyPrefix]);
    }
    await middle.clear();
    assert.deepEqual([await middle.get('key'), await middle.listLength('list')], [null, 0]);
    for (const cache of [outer, inner]) {
      assert.equal(await cache.get('key'), cache.keyPrefix);
      assert.deepEqual(await cache.listFromTo('list', 0), [cache.keyPrefix]);
    }
  });

  await check('clearing an empty prefix changes nothing', async () => {
    assert.equal(await open('nothing').clear(), undefined);
  });
}
