// Memories, chunks and swaps for the domains of observational memory.
import assert from 'node:assert/strict';
import { at } from './records.mjs';

/** The members of a record that are there: adapters spell absence as undefined or leave it out. */
export function present(record) {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined));
}

/** Begins memories that nobody else has, and clears them in the end. */
export class Observer {
  #begun = [];

  constructor(memory, namespace) {
    this.memory = memory;
    this.namespace = namespace;
  }

  /** Ids of a thread and a resource that have no memory yet. */
  fresh(label) {
    const ids = {
      threadId: `${this.namespace}_${label}_t`,
      resourceId: `${this.namespace}_${label}`,
    };
    this.#begun.push(ids);
    return ids;
  }

  async begin(label, { scope = 'thread', config = {}, observedTimezone } = {}) {
    const { threadId, resourceId } = this.fresh(label);
    return await this.memory.initializeObservationalMemory({
      threadId: scope === 'thread' ? threadId : null,
      resourceId,
      scope,
      config,
      observedTimezone,
    });
  }

  /** The newest generation of the memory that a record belongs to. */
  async read({ threadId, resourceId }) {
    return present(await this.memory.getObservationalMemory(threadId, resourceId));
  }

  async history({ threadId, resourceId }, limit, options) {
    return await this.memory.getObservationalMemoryHistory(threadId, resourceId, limit, options);
  }

  async append(record, name, messageTokens, rest = {}) {
    const { lastBufferedAtTime, ...members } = rest;
    const given = chunk(name, messageTokens, members);
    await this.memory.updateBufferedObservations({
      id: record.id,
      chunk: given,
      lastBufferedAtTime,
    });
    return given;
  }

  async swap(record, options = {}) {
    return await this.memory.swapBufferedToActive({
      id: record.id,
      activationRatio: 1,
      messageTokensThreshold: 1000,
      currentPendingTokens: 1000,
      ...options,
    });
  }

  async clear() {
    for (const { threadId, resourceId } of this.#begun) {
      await this.memory.clearObservationalMemory(threadId, resourceId);
      await this.memory.clearObservationalMemory(null, resourceId);
      assert.equal(await this.memory.getObservationalMemory(threadId, resourceId), null);
    }
  }
}

export function chunk(name, messageTokens, members = {}) {
  return {
    cycleId: name,
    observations: `observed <${name}>`,
    tokenCount: 10,
    messageIds: [`m-${name}`],
    messageTokens,
    lastObservedAt: at(1),
    ...members,
  };
}

export const cyclesOf = (chunks) => (chunks ?? []).map(({ cycleId }) => cycleId);

/** How often a text occurs in another. */
export const times = (text, part) => text.split(part).length - 1;
