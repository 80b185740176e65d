// Reaching the deployment: keys, paths, and what it says when something is wrong.
import assert from 'node:assert/strict';
import { callFunction, callStorage, failure } from '../harness.mjs';
import { openCache, openMemory, openNativeVector, openStore, openVector } from './adapters.mjs';

export const name = 'connection';

const REFUSED = /^Convex API error: 40[013] /;

export async function run({ connection, namespace, check }) {
  const wrongKey = { ...connection, key: `${connection.key}x` };
  const absent = `${namespace}_absent`;

  await check('the store is refused with a wrong key', async () => {
    const memory = await openMemory(wrongKey);
    const error = await failure(memory.getThreadById({ threadId: absent }));
    assert.match(error.message, REFUSED);
  });

  await check('the vector store is refused with a wrong key', async () => {
    const error = await failure(openVector(wrongKey).listIndexes());
    assert.match(error.message, REFUSED);
  });

  await check('the native vector store is refused with a wrong key', async () => {
    const indexes = { docs: { tableName: 'cross_client_vectors', dimension: 32 } };
    const vector = openNativeVector(wrongKey, indexes);
    const error = await failure(
      vector.query({ indexName: 'docs', queryVector: Array(32).fill(1) }),
    );
    assert.match(error.message, REFUSED);
  });

  await check('the cache is refused with a wrong key', async () => {
    const error = await failure(openCache(wrongKey, { keyPrefix: `${namespace}:` }).get('k'));
    assert.match(error.message, REFUSED);
  });

  await check('a refusal does not repeat the key', async () => {
    const memory = await openMemory(wrongKey);
    const error = await failure(memory.getThreadById({ threadId: absent }));
    assert.equal(error.message.includes(wrongKey.key), false);
  });

  await check('a slash after the URL does not matter', async () => {
    const memory = await openMemory({ ...connection, url: `${connection.url}/` });
    assert.equal(await memory.getThreadById({ threadId: absent }), null);
  });

  await check('a function that is not deployed is named', async () => {
    const store = openStore(connection, { storageFunction: 'mastra/absent:handle' });
    const memory = await store.getStore('memory');
    const error = await failure(memory.getThreadById({ threadId: absent }), 'Could not find');
    assert.ok(error.message.includes('mastra/absent:handle'));
  });

  await check('an operation the storage function does not know is refused by name', async () => {
    const request = { op: 'levitate', tableName: 'mastra_threads' };
    await failure(callStorage(connection, request), 'Unsupported operation levitate');
  });

  await check('a mutation cannot be called as a query', async () => {
    const args = { op: 'load', tableName: 'mastra_threads', keys: { id: absent } };
    const call = callFunction(connection, 'query', 'mastra/storage:handle', args);
    await failure(call, 'as Query, but it is defined as Mutation');
  });
}
