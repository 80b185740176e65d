// A client over the TypeScript SDK 1.x, which most assistants of 2025-11-25 are built on. It holds
// every answer against the tool's output schema (Ajv) and throws where one does not fit.
//
// node client.mjs PACKAGES URL TOKEN CALLS: makes the calls ([[tool, arguments], ...]) and prints
// what it saw as JSON.
import { pathToFileURL } from 'node:url';

const [packages, url, token, calls] = process.argv.slice(2);
const sdk = (path) =>
  import(pathToFileURL(`${packages}/@modelcontextprotocol/sdk/dist/esm/client/${path}`));
const { Client } = await sdk('index.js');
const { StreamableHTTPClientTransport } = await sdk('streamableHttp.js');

const client = new Client({ name: 'strict-client', version: '1.0.0' });
await client.connect(
  new StreamableHTTPClientTransport(new URL(url), {
    requestInit: { headers: { Authorization: `Bearer ${token}` } },
  }),
);
const { tools } = await client.listTools();
const answers = [];
for (const [name, args] of JSON.parse(calls)) {
  const { isError = false, structuredContent = null } = await client.callTool({
    name,
    arguments: args,
  });
  answers.push({ isError, structuredContent });
}
const { resources } = await client.listResources();
const { contents } = await client.readResource({ uri: resources[0].uri });
const { prompts } = await client.listPrompts();
const { messages } = await client.getPrompt({ name: prompts[0].name, arguments: {} });
await client.close();
console.log(
  JSON.stringify({
    server: client.getServerVersion().name,
    tools: tools.map((tool) => tool.name),
    answers,
    read: contents[0].uri,
    said: messages[0].role,
  }),
);
