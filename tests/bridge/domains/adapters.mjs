// The adapters under test, opened on a connection.
import { ConvexNativeVector, ConvexServerCache, ConvexStore, ConvexVector } from '@mastra/convex';

const credentials = ({ url, key }) => ({ deploymentUrl: url, adminAuthToken: key });

export function openStore(connection, overrides = {}) {
  return new ConvexStore({ id: 'cross-client', ...credentials(connection), ...overrides });
}

export async function openMemory(connection) {
  return await openStore(connection).getStore('memory');
}

export function openVector(connection) {
  return new ConvexVector({ id: 'cross-client', ...credentials(connection) });
}

export function openNativeVector(connection, indexes) {
  return new ConvexNativeVector({ id: 'cross-client', ...credentials(connection), indexes });
}

export function openCache(connection, options) {
  return new ConvexServerCache({ ...credentials(connection), ...options });
}
