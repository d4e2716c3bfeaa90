// The first TypeScript SDK, `@modelcontextprotocol/sdk` 1.x, does what goes beyond asking: see deeds.py. A plan comes on stdin, one
// JSON line of facts goes to stdout. The transport `sse` is HTTP+SSE.
import { readFileSync } from 'node:fs';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
  CallToolResultSchema, CreateMessageRequestSchema, ElicitRequestSchema, ListRootsRequestSchema, LoggingMessageNotificationSchema,
  ResourceUpdatedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';

const plan = JSON.parse(readFileSync(0, 'utf8'));
const seen = { asked: [], sampled: [], progress: [], logged: [], updated: [] };
let changed;
const change = new Promise((done) => { changed = done; });

const client = new Client({ name: 'strait-peers', version: '1' }, { capabilities: { elicitation: {}, sampling: {}, roots: {} } });
client.setRequestHandler(ElicitRequestSchema, async ({ params }) => {
  seen.asked.push(params.message);
  return { action: 'accept', content: { response: 'yes' } };
});
client.setRequestHandler(CreateMessageRequestSchema, async ({ params }) => {
  seen.sampled.push(params.messages[0].content.text);
  return { role: 'assistant', content: { type: 'text', text: 'a word' }, model: 'stub' };
});
client.setRequestHandler(ListRootsRequestSchema, async () => ({ roots: [{ uri: 'file:///srv/peers' }] }));
client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => { seen.logged.push(params.data); });
client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => {
  seen.updated.push(params.uri);
  changed();
});
const Transport = plan.transport === 'sse' ? SSEClientTransport : StreamableHTTPClientTransport;
await client.connect(new Transport(new URL(plan.url)));
await client.listTools();
// What a tool of the plan, by the deed that it is for, says.
const say = async (deed, options = {}) => {
  const [name, args] = plan.tools[deed];
  return (await client.callTool({ name, arguments: args }, CallToolResultSchema, options)).content[0].text;
};

if (plan.deeds.includes('ask')) {
  seen.elicitation = await say('elicit');
  seen.sampling = await say('sample');
  seen.roots = await say('roots');
}
if (plan.deeds.includes('tell')) {
  await say('progress', { onprogress: ({ progress }) => seen.progress.push(progress) });
  await client.setLoggingLevel('info');
  if (plan.tools.log) await say('log');
}
if (plan.deeds.includes('watch')) {
  await client.subscribeResource({ uri: plan.watched });
  await say('touch');
  await change;
  await client.unsubscribeResource({ uri: plan.watched });
  await say('touch');
}
if (plan.deeds.includes('cancel')) { // a call is given up as soon as it reports; the server must come to know
  const leave = new AbortController();
  await say('wait', { signal: leave.signal, onprogress: () => leave.abort() }).catch(() => {});
  while (!(await say('cancelled')).includes(plan.wait)) await new Promise((done) => setTimeout(done, 50));
  seen.cancelled = true;
}
await client.close();
console.log(JSON.stringify(seen));
