// The official TypeScript client, `@modelcontextprotocol/client` 2.x, does what goes beyond asking: see deeds.py. A plan comes on
// stdin, one JSON line of facts goes to stdout. The transport `sse` is HTTP+SSE.
import { readFileSync } from 'node:fs';
import { Client, SSEClientTransport, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

const plan = JSON.parse(readFileSync(0, 'utf8'));
const seen = { asked: [], sampled: [], progress: [], logged: [], updated: [] };
let changed;
const change = new Promise((done) => { changed = done; });

const client = new Client({ name: 'strait-peers', version: '1' }, {
  versionNegotiation: { mode: plan.mode }, capabilities: { elicitation: {}, sampling: {}, roots: {} },
});
client.setRequestHandler('elicitation/create', async ({ params }) => {
  seen.asked.push(params.message);
  return { action: 'accept', content: { response: 'yes' } };
});
client.setRequestHandler('sampling/createMessage', async ({ params }) => {
  const { content } = params.messages[0];
  seen.sampled.push((Array.isArray(content) ? content[0] : content).text);
  return { role: 'assistant', content: { type: 'text', text: 'a word' }, model: 'stub' };
});
client.setRequestHandler('roots/list', async () => ({ roots: [{ uri: 'file:///srv/peers' }] }));
client.setNotificationHandler('notifications/message', ({ params }) => { seen.logged.push(params.data); });
client.setNotificationHandler('notifications/resources/updated', ({ params }) => {
  seen.updated.push(params.uri);
  changed();
});
const Transport = plan.transport === 'sse' ? SSEClientTransport : StreamableHTTPClientTransport;
await client.connect(new Transport(new URL(plan.url)));
seen.protocol = client.getNegotiatedProtocolVersion();
const modern = seen.protocol >= '2026';
await client.listTools();
// What a tool of the plan, by the deed that it is for, says.
const say = async (deed, options = {}, more = {}) => {
  const [name, args] = plan.tools[deed];
  return (await client.callTool({ name, arguments: args, ...more }, options)).content[0].text;
};

if (plan.deeds.includes('ask')) {
  seen.elicitation = await say('elicit');
  seen.sampling = await say('sample');
  seen.roots = await say('roots');
}
if (plan.deeds.includes('tell')) {
  await say('progress', { onprogress: ({ progress }) => seen.progress.push(progress) });
  if (!modern) await client.setLoggingLevel('info');
  if (plan.tools.log) await say('log', {}, modern ? { _meta: { 'io.modelcontextprotocol/logLevel': 'info' } } : {});
}
if (plan.deeds.includes('watch')) {
  const listening = modern ? await client.listen({ resourceSubscriptions: [plan.watched] }) : await client.subscribeResource({ uri: plan.watched });
  await say('touch');
  await change;
  await (modern ? listening.close() : client.unsubscribeResource({ uri: plan.watched }));
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
