// ConvexStore: saving, reading by id, updating and deleting messages.
import assert from 'node:assert/strict';
import { failure, range, withoutSystemFields } from '../harness.mjs';
import { openMemory } from './adapters.mjs';
import { at, idsOf, message, removeMemory, thread } from './records.mjs';

export const name = 'messages';

export async function run({ connection, namespace, check, tidy }) {
  const memory = await openMemory(connection);
  const resources = [];
  /** A resource of its own with a thread `<resource>_t`. */
  const fresh = async (label) => {
    const resourceId = `${namespace}_${label}`;
    resources.push(resourceId);
    await memory.saveThread({ thread: thread(`${resourceId}_t`, resourceId) });
    return resourceId;
  };
  tidy(() => removeMemory(connection, resources));
  const context = { memory, fresh, check };
  await saving(context);
  await readingById(context);
  await updating(context);
  await moving(context);
  await deleting(context);
}

const inThread = async (memory, threadId) =>
  (await memory.listMessages({ threadId, perPage: false })).messages.map(withoutSystemFields);

const updatedAt = async (memory, threadId) => (await memory.getThreadById({ threadId })).updatedAt;

async function saving({ memory, fresh, check }) {
  await check('saved messages come back as they were given', async () => {
    const r = await fresh('save');
    const parts = [
      { type: 'text', text: 'Zeile 1\nZeile 2 — “quoted” 🧠' },
      {
        type: 'tool-invocation',
        toolInvocation: {
          state: 'result',
          toolCallId: 'call-1',
          toolName: 'weather',
          args: { $city: 'Köln', days: [1, 2.5] },
          result: { ok: true, missing: null },
        },
      },
    ];
    const rows = [
      message(`${r}_1`, `${r}_t`, r, 1, { metadata: { ключ: 1, deep: { er: [] } } }),
      message(`${r}_2`, `${r}_t`, r, 2, { role: 'assistant', parts }),
    ];
    const { messages } = await memory.saveMessages({ messages: rows });
    assert.deepEqual(messages, rows);
    assert.deepEqual(await inThread(memory, `${r}_t`), rows);
  });

  await check('saving nothing answers nothing', async () => {
    assert.deepEqual(await memory.saveMessages({ messages: [] }), { messages: [] });
  });

  await check(
    'a message without a thread or a resource is refused before anything is saved',
    async () => {
      const r = await fresh('incomplete');
      const good = message(`${r}_1`, `${r}_t`, r, 1);
      const threadless = message(`${r}_2`, undefined, r, 2);
      const ownerless = message(`${r}_3`, `${r}_t`, undefined, 3);
      await failure(memory.saveMessages({ messages: [good, threadless] }), 'Thread ID is required');
      await failure(
        memory.saveMessages({ messages: [good, ownerless] }),
        'Resource ID is required',
      );
      assert.deepEqual(await inThread(memory, `${r}_t`), []);
    },
  );

  await check('saving messages makes their threads newer', async () => {
    const r = await fresh('touch');
    const before = Date.now();
    await memory.saveMessages({ messages: [message(`${r}_1`, `${r}_t`, r, 1)] });
    assert.ok((await updatedAt(memory, `${r}_t`)).getTime() >= before);
    assert.deepEqual((await memory.getThreadById({ threadId: `${r}_t` })).createdAt, at(0));
  });

  await check('a message may be saved before its thread', async () => {
    const r = await fresh('early');
    const row = message(`${r}_1`, `${r}_later`, r, 1);
    await memory.saveMessages({ messages: [row] });
    assert.deepEqual(await inThread(memory, `${r}_later`), [row]);
    assert.equal(await memory.getThreadById({ threadId: `${r}_later` }), null);
  });

  await check('saving a message again overwrites it', async () => {
    const r = await fresh('again');
    await memory.saveMessages({ messages: [message(`${r}_1`, `${r}_t`, r, 1)] });
    const second = message(`${r}_1`, `${r}_t`, r, 2, { text: 'second', role: 'assistant' });
    await memory.saveMessages({ messages: [second] });
    assert.deepEqual(await inThread(memory, `${r}_t`), [second]);
  });

  await check(
    'the later of two messages with one id in a call is the one that is kept',
    async () => {
      const r = await fresh('twice');
      const rows = ['first', 'second'].map((text) => message(`${r}_1`, `${r}_t`, r, 1, { text }));
      await memory.saveMessages({ messages: rows });
      assert.deepEqual(await inThread(memory, `${r}_t`), [rows[1]]);
    },
  );

  await check('saving a message with another thread moves it', async () => {
    const r = await fresh('resave');
    await memory.saveMessages({ messages: [message(`${r}_1`, `${r}_t`, r, 1)] });
    await memory.saveMessages({ messages: [message(`${r}_1`, `${r}_other`, r, 1)] });
    assert.deepEqual(await inThread(memory, `${r}_t`), []);
    assert.deepEqual(idsOf(await inThread(memory, `${r}_other`)), [`${r}_1`]);
  });

  await check('messages of the same moment keep the order they were saved in', async () => {
    const r = await fresh('same');
    const rows = range(0, 60).map((n) => message(`${r}_${(n * 37) % 60}`, `${r}_t`, r, 1));
    await memory.saveMessages({ messages: rows.slice(0, 40) });
    await memory.saveMessages({ messages: rows.slice(40) });
    assert.deepEqual(idsOf(await inThread(memory, `${r}_t`)), idsOf(rows));
  });

  await check('messages saved at the same time are all kept', async () => {
    const r = await fresh('parallel');
    const save = (n) => memory.saveMessages({ messages: [message(`${r}_${n}`, `${r}_t`, r, n)] });
    await Promise.all(range(0, 30).map(save));
    const expected = range(0, 30).map((n) => `${r}_${n}`);
    assert.deepEqual(idsOf(await inThread(memory, `${r}_t`)), expected);
  });

  await check('one call saves 300 messages in two threads', async () => {
    const r = await fresh('bulk');
    const rows = range(0, 300).map((n) => message(`${r}_${n}`, `${r}_${'tu'[n % 2]}`, r, n));
    await memory.saveMessages({ messages: rows });
    const stored = [...(await inThread(memory, `${r}_t`)), ...(await inThread(memory, `${r}_u`))];
    const expected = [...rows.filter((_, n) => n % 2 === 0), ...rows.filter((_, n) => n % 2 === 1)];
    assert.deepEqual(stored, expected);
  });

  await check('a message of 500 KB comes back whole', async () => {
    const r = await fresh('large');
    const row = message(`${r}_1`, `${r}_t`, r, 1, { text: 'ab'.repeat(250_000) });
    await memory.saveMessages({ messages: [row] });
    const [stored] = await inThread(memory, `${r}_t`);
    assert.equal(stored.content.parts[0].text === row.content.parts[0].text, true);
  });
}

async function readingById({ memory, fresh, check }) {
  const r = await fresh('ids');
  const rows = range(0, 23).map((n) => message(`${r}_${n}`, `${r}_${'tu'[n % 2]}`, r, n));
  await memory.saveMessages({ messages: rows });

  await check('messages are read by id across threads, oldest first', async () => {
    const messageIds = idsOf(rows).reverse();
    const { messages } = await memory.listMessagesById({ messageIds });
    assert.deepEqual(messages, rows);
  });

  await check('ids that do not exist, or come twice, add nothing', async () => {
    const messageIds = [`${r}_2`, `${r}_absent`, `${r}_1`, `${r}_2`];
    const { messages } = await memory.listMessagesById({ messageIds });
    assert.deepEqual(idsOf(messages), [`${r}_1`, `${r}_2`]);
  });

  await check('no ids give no messages', async () => {
    assert.deepEqual(await memory.listMessagesById({ messageIds: [] }), { messages: [] });
  });
}

async function updating({ memory, fresh, check }) {
  await check('an update merges content and its metadata and keeps the rest', async () => {
    const r = await fresh('update');
    const original = message(`${r}_1`, `${r}_t`, r, 1, { metadata: { kept: 1, replaced: 1 } });
    const untouched = message(`${r}_2`, `${r}_t`, r, 2);
    await memory.saveMessages({ messages: [original, untouched] });
    const content = { content: 'short form', metadata: { replaced: 2, added: { n: null } } };
    const updated = await memory.updateMessages({ messages: [{ id: `${r}_1`, content }] });
    const merged = {
      ...original.content,
      content: 'short form',
      metadata: { kept: 1, replaced: 2, added: { n: null } },
    };
    assert.deepEqual(
      updated.map((row) => row.content),
      [merged],
    );
    const stored = await inThread(memory, `${r}_t`);
    assert.deepEqual(stored, [{ ...original, content: merged }, untouched]);
  });

  await check('an update replaces role and type, and never the creation date', async () => {
    const r = await fresh('role');
    const original = message(`${r}_1`, `${r}_t`, r, 1);
    await memory.saveMessages({ messages: [original] });
    const change = { id: `${r}_1`, role: 'assistant', type: 'text', createdAt: at(99) };
    await memory.updateMessages({ messages: [change] });
    const { messages } = await memory.listMessages({ threadId: `${r}_t` });
    const [{ role, type, createdAt, content }] = messages;
    assert.deepEqual([role, type, createdAt], ['assistant', 'text', at(1)]);
    assert.deepEqual(content, original.content);
  });

  await check(
    'updated messages are answered in the order asked for, without absent ones',
    async () => {
      const r = await fresh('order');
      const rows = range(0, 12).map((n) => message(`${r}_${n}`, `${r}_t`, r, n));
      await memory.saveMessages({ messages: rows });
      const asked = [...idsOf(rows).reverse(), `${r}_absent`];
      const content = { metadata: { seen: true } };
      const updated = await memory.updateMessages({
        messages: asked.map((id) => ({ id, content })),
      });
      assert.deepEqual(idsOf(updated), asked.slice(0, 12));
      const stored = await inThread(memory, `${r}_t`);
      assert.deepEqual(
        stored.map((row) => row.content.metadata),
        Array(12).fill({ seen: true }),
      );
      assert.equal(stored.length, 12);
    },
  );

  await check('updating nothing answers nothing', async () => {
    assert.deepEqual(await memory.updateMessages({ messages: [] }), []);
  });

  await check('updating a message makes its thread newer', async () => {
    const r = await fresh('fresher');
    await memory.saveMessages({ messages: [message(`${r}_1`, `${r}_t`, r, 1)] });
    await memory.saveThread({ thread: thread(`${r}_t`, r) });
    assert.deepEqual(await updatedAt(memory, `${r}_t`), at(0));
    await memory.updateMessages({ messages: [{ id: `${r}_1`, role: 'assistant' }] });
    assert.ok((await updatedAt(memory, `${r}_t`)) > at(0));
  });
}

async function moving({ memory, fresh, check }) {
  await check('an update moves a message to another thread and makes both newer', async () => {
    const r = await fresh('move');
    const rows = [1, 2, 3].map((n) => message(`${r}_${n}`, `${r}_t`, r, n));
    await memory.saveMessages({ messages: rows });
    for (const label of 'tuv') await memory.saveThread({ thread: thread(`${r}_${label}`, r) });
    await memory.updateMessages({ messages: [{ id: `${r}_2`, threadId: `${r}_u` }] });
    assert.deepEqual(await inThread(memory, `${r}_t`), [rows[0], rows[2]]);
    assert.deepEqual(await inThread(memory, `${r}_u`), [{ ...rows[1], threadId: `${r}_u` }]);
    assert.ok((await updatedAt(memory, `${r}_t`)) > at(0));
    assert.ok((await updatedAt(memory, `${r}_u`)) > at(0));
    assert.deepEqual(await updatedAt(memory, `${r}_v`), at(0));
  });

  await check('an update hands a message to another resource', async () => {
    const r = await fresh('hand');
    const s = await fresh('receive');
    await memory.saveMessages({ messages: [message(`${r}_1`, `${r}_t`, r, 1)] });
    await memory.updateMessages({ messages: [{ id: `${r}_1`, resourceId: s }] });
    const of = async (resourceId) =>
      idsOf((await memory.listMessagesByResourceId({ resourceId })).messages);
    assert.deepEqual([await of(r), await of(s)], [[], [`${r}_1`]]);
  });
}

async function deleting({ memory, fresh, check }) {
  await check('deleting messages removes those and leaves the thread as it is', async () => {
    const r = await fresh('delete');
    const rows = range(0, 60).map((n) => message(`${r}_${n}`, `${r}_t`, r, n));
    await memory.saveMessages({ messages: rows });
    await memory.saveThread({ thread: thread(`${r}_t`, r) });
    await memory.deleteMessages([...idsOf(rows).slice(0, 57), `${r}_absent`]);
    assert.deepEqual(idsOf(await inThread(memory, `${r}_t`)), [`${r}_57`, `${r}_58`, `${r}_59`]);
    assert.deepEqual(await updatedAt(memory, `${r}_t`), at(0));
  });

  await check('deleting no messages, or the same ones twice, changes nothing', async () => {
    const r = await fresh('nothing');
    await memory.saveMessages({ messages: [message(`${r}_1`, `${r}_t`, r, 1)] });
    await memory.deleteMessages([]);
    assert.equal((await inThread(memory, `${r}_t`)).length, 1);
    await memory.deleteMessages([`${r}_1`, `${r}_1`]);
    await memory.deleteMessages([`${r}_1`]);
    assert.deepEqual(await inThread(memory, `${r}_t`), []);
  });
}
