// ConvexStore: channel installations and configurations.
import assert from 'node:assert/strict';
import { callStorage, failure, range } from '../harness.mjs';
import { openStore } from './adapters.mjs';
import { present } from './observing.mjs';
import { at, idsOf, removeRows } from './records.mjs';

export const name = 'channels';

const INSTALLATIONS = 'mastra_channel_installations';
const CONFIG = 'mastra_channel_config';

export async function run({ connection, namespace, check, tidy }) {
  const channels = await openStore(connection).getStore('channels');
  const installed = new Set();
  const platforms = new Set();
  tidy(() => removeRows(connection, INSTALLATIONS, [...installed]));
  tidy(() => removeRows(connection, CONFIG, [...platforms]));
  const platform = (label) => {
    platforms.add(`${namespace}_${label}`);
    return `${namespace}_${label}`;
  };
  const installation = (label, id, rest = {}) => {
    installed.add(`${namespace}_${label}_${id}`);
    return {
      id: `${namespace}_${label}_${id}`,
      platform: platform(label),
      agentId: `${namespace}_${label}_agent`,
      status: 'active',
      data: { team: id },
      createdAt: at(0),
      updatedAt: at(0),
      ...rest,
    };
  };
  // Rows with dates of their own: the adapter stamps what it saves with the present.
  const insert = async (...records) => {
    const rows = records.map(({ data, createdAt, updatedAt, ...rest }) => ({
      ...rest,
      data: JSON.stringify(data),
      createdAt: createdAt.toISOString(),
      updatedAt: updatedAt.toISOString(),
    }));
    await callStorage(connection, { op: 'batchInsert', tableName: INSTALLATIONS, records: rows });
  };
  const context = { connection, channels, platform, installation, insert, check };
  await saving(context);
  await savingAgain(context);
  await byAgent(context);
  await byWebhook(context);
  await listing(context);
  await deleting(context);
  await configurations(context);
  await brokenRows(context);
}

const read = async (channels, id) => {
  const found = await channels.getInstallation(id);
  return found && present(found);
};

async function saving({ channels, installation, check }) {
  await check('an installation that does not exist is null', async () => {
    assert.equal(await channels.getInstallation('nobody'), null);
  });

  await check('a saved installation comes back, stamped with the present', async () => {
    const given = installation('save', 'a');
    const before = Date.now();
    await channels.saveInstallation(given);
    const { updatedAt, ...stored } = await read(channels, given.id);
    assert.ok(updatedAt.getTime() >= before);
    const { updatedAt: _, ...expected } = given;
    assert.deepEqual(stored, expected);
  });

  await check('every member of an installation comes back', async () => {
    const given = installation('save', 'whole', {
      status: 'error',
      webhookId: 'hook/ü',
      configHash: 'abc',
      error: 'token expired ⏳',
      data: { $token: 's', ключ: { list: [1, null, 0.5, true], empty: {} }, '': '' },
    });
    await channels.saveInstallation(given);
    const { updatedAt, ...stored } = await read(channels, given.id);
    assert.ok(updatedAt);
    const { updatedAt: _, ...expected } = given;
    assert.deepEqual(stored, expected);
  });

  await check('an installation of every status can be saved', async () => {
    for (const status of ['pending', 'active', 'error']) {
      const given = installation('status', status, { status });
      await channels.saveInstallation(given);
      assert.equal((await read(channels, given.id)).status, status);
    }
  });

  await check('data of 300 KB comes back whole', async () => {
    const given = installation('large', 'a', { data: { manifest: 'ü記憶 '.repeat(30_000) } });
    await channels.saveInstallation(given);
    const { data } = await read(channels, given.id);
    assert.equal(data.manifest === given.data.manifest, true);
  });
}

async function savingAgain({ channels, platform, installation, check }) {
  await check('saving an installation again replaces it and keeps its creation date', async () => {
    const first = installation('again', 'a', {
      status: 'pending',
      webhookId: 'w',
      configHash: 'h',
      error: 'e',
    });
    await channels.saveInstallation(first);
    const { updatedAt: saved } = await read(channels, first.id);
    const second = installation('again', 'a', { data: { other: 1 }, createdAt: at(60) });
    await channels.saveInstallation(second);
    const { updatedAt, ...stored } = await read(channels, first.id);
    assert.ok(updatedAt >= saved);
    const { updatedAt: _, ...expected } = second;
    assert.deepEqual(stored, { ...expected, createdAt: at(0) });
    assert.equal((await channels.listInstallations(platform('again'))).length, 1);
  });

  await check('an installation can move to another agent and platform', async () => {
    const given = installation('move', 'a');
    await channels.saveInstallation(given);
    const elsewhere = { agentId: `${given.agentId}_2`, platform: platform('moved') };
    await channels.saveInstallation({ ...given, ...elsewhere });
    assert.deepEqual(await channels.listInstallations(given.platform), []);
    const found = await channels.getInstallationByAgent(elsewhere.platform, elsewhere.agentId);
    assert.equal(found.id, given.id);
  });

  await check('installations saved at the same time are all kept', async () => {
    const given = range(0, 15).map((n) => installation('parallel', `${n}`));
    await Promise.all(given.map((each) => channels.saveInstallation(each)));
    const listed = await channels.listInstallations(platform('parallel'));
    assert.deepEqual(idsOf(listed).sort(), idsOf(given).sort());
  });
}

async function byAgent({ channels, installation, insert, check }) {
  const best = async (label) => {
    const { platform, agentId } = installation(label, 'a');
    const found = await channels.getInstallationByAgent(platform, agentId);
    return found && found.id.slice(found.id.lastIndexOf('_') + 1);
  };
  const insertEach = (label, ...statuses) =>
    insert(
      ...statuses.map(([id, status, minutes]) =>
        installation(label, id, { status, updatedAt: at(minutes) }),
      ),
    );

  await check('an agent that is not installed has no installation', async () => {
    const { platform, agentId } = installation('absent', 'a');
    assert.equal(await channels.getInstallationByAgent(platform, agentId), null);
  });

  await check('an agent is found on its platform and on no other', async () => {
    const given = installation('found', 'a');
    await channels.saveInstallation(given);
    const { platform, agentId } = given;
    const found = await channels.getInstallationByAgent(platform, agentId);
    assert.deepEqual(present(found), await read(channels, given.id));
    assert.equal(await channels.getInstallationByAgent(`${platform}_2`, agentId), null);
    assert.equal(await channels.getInstallationByAgent(platform, `${agentId}_2`), null);
  });

  await check(
    'an active installation goes before a pending one, that before an error',
    async () => {
      await insertEach('best', ['error', 'error', 9], ['pending', 'pending', 5]);
      assert.equal(await best('best'), 'pending');
      await insertEach('best', ['active', 'active', 1], ['late', 'pending', 8]);
      assert.equal(await best('best'), 'active');
    },
  );

  await check('of installations with one status the latest change goes first', async () => {
    for (const status of ['active', 'pending', 'error']) {
      const label = `latest_${status}`;
      await insertEach(label, ['old', status, 1], ['new', status, 3], ['mid', status, 2]);
      assert.equal(await best(label), 'new');
    }
  });
}

async function byWebhook({ channels, installation, insert, check }) {
  await check('a webhook that nobody has leads to no installation', async () => {
    await channels.saveInstallation(installation('unhooked', 'a'));
    assert.equal(await channels.getInstallationByWebhookId('nowhere'), null);
  });

  await check('an installation is found by its webhook', async () => {
    const given = installation('hooked', 'a');
    const webhookId = `${given.id}_hook`;
    await channels.saveInstallation({ ...given, webhookId });
    const found = await channels.getInstallationByWebhookId(webhookId);
    assert.deepEqual(present(found), await read(channels, given.id));
    await channels.saveInstallation(given);
    assert.equal(await channels.getInstallationByWebhookId(webhookId), null);
  });

  await check('of installations with one webhook the latest change is found', async () => {
    const { id } = installation('shared', 'a');
    const webhookId = `${id}_hook`;
    const each = (label, status, minutes) =>
      installation('shared', label, { webhookId, status, updatedAt: at(minutes) });
    await insert(each('a', 'active', 1), each('b', 'error', 3), each('c', 'pending', 2));
    const found = await channels.getInstallationByWebhookId(webhookId);
    assert.equal(found.status, 'error');
  });
}

async function listing({ channels, platform, installation, insert, check }) {
  await check('installations of a platform are listed newest first', async () => {
    const each = (label, minutes) =>
      installation('list', label, { createdAt: at(minutes), agentId: `agent ${label}` });
    await insert(each('b', 2), each('a', 1), each('d', 4), each('c', 3));
    await insert(installation('list_other', 'x'));
    const listed = await channels.listInstallations(platform('list'));
    assert.deepEqual(
      listed.map(({ data }) => data.team),
      ['d', 'c', 'b', 'a'],
    );
    assert.deepEqual(present(listed[0]), { ...each('d', 4) });
  });

  await check('a platform without installations lists none', async () => {
    assert.deepEqual(await channels.listInstallations(platform('deserted')), []);
  });
}

async function deleting({ channels, platform, installation, check }) {
  await check('deleting an installation leaves the others', async () => {
    const given = ['a', 'b'].map((id) => installation('delete', id));
    for (const each of given) await channels.saveInstallation(each);
    await channels.deleteInstallation(given[0].id);
    assert.equal(await channels.getInstallation(given[0].id), null);
    assert.deepEqual(idsOf(await channels.listInstallations(platform('delete'))), [given[1].id]);
    await channels.deleteInstallation(given[0].id);
    assert.deepEqual(idsOf(await channels.listInstallations(platform('delete'))), [given[1].id]);
  });
}

async function configurations({ channels, platform, check }) {
  await check('a platform that was not set up has no configuration', async () => {
    assert.equal(await channels.getConfig(platform('unset')), null);
  });

  await check('a configuration comes back with the date it was given', async () => {
    const config = {
      platform: platform('config'),
      data: { $token: 'xoxe', ключ: { refresh: [1, null] } },
      updatedAt: at(5),
    };
    await channels.saveConfig(config);
    assert.deepEqual(await channels.getConfig(config.platform), config);
  });

  await check('a platform has one configuration, the one saved last', async () => {
    const config = { platform: platform('replaced'), data: { a: 1, b: 2 }, updatedAt: at(5) };
    const again = { ...config, data: { a: 3 }, updatedAt: at(4) };
    await channels.saveConfig(config);
    await channels.saveConfig(again);
    assert.deepEqual(await channels.getConfig(config.platform), again);
  });

  await check('platforms have configurations of their own', async () => {
    const configs = ['one', 'two'].map((label, n) => ({
      platform: platform(`config_${label}`),
      data: { n },
      updatedAt: at(n),
    }));
    for (const config of configs) await channels.saveConfig(config);
    for (const config of configs) {
      assert.deepEqual(await channels.getConfig(config.platform), config);
    }
  });

  await check('a deleted configuration is gone, and deleting it again is fine', async () => {
    const config = { platform: platform('deleted'), data: {}, updatedAt: at(1) };
    await channels.saveConfig(config);
    for (const _ of range(0, 2)) {
      await channels.deleteConfig(config.platform);
      assert.equal(await channels.getConfig(config.platform), null);
    }
  });

  await check('a configuration does not go with the installations', async () => {
    const config = { platform: platform('kept'), data: { a: 1 }, updatedAt: at(1) };
    await channels.saveConfig(config);
    await channels.deleteInstallation(config.platform);
    assert.deepEqual(await channels.getConfig(config.platform), config);
  });
}

async function brokenRows({ connection, channels, platform, installation, check }) {
  await check('data that is not JSON is an error that says whose it is', async () => {
    const { id } = installation('broken', 'a');
    await channels.saveInstallation(installation('broken', 'a'));
    await channels.saveConfig({ platform: platform('broken'), data: {}, updatedAt: at(1) });
    const record = { data: 'not JSON' };
    await callStorage(connection, { op: 'patch', tableName: INSTALLATIONS, id, record });
    const config = { op: 'patch', tableName: CONFIG, id: platform('broken'), record };
    await callStorage(connection, config);
    const text = 'Invalid channel data JSON for';
    await failure(channels.getInstallation(id), `${text} installation ${id}`);
    await failure(channels.listInstallations(platform('broken')), `${text} installation ${id}`);
    await failure(channels.getConfig(platform('broken')), `${text} config ${platform('broken')}`);
  });
}
