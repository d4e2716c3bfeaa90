// The official TypeScript client, `@modelcontextprotocol/client` 2.x. A plan comes on stdin, one JSON line of facts goes to stdout.
import { readFileSync } from 'node:fs';
import { Client, ProtocolError, SSEClientTransport, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

const plan = JSON.parse(readFileSync(0, 'utf8'));
const overSse = plan.mode === 'sse';
const client = new Client({ name: 'strait-peers', version: '1' }, { versionNegotiation: { mode: overSse ? 'legacy' : plan.mode } });
const options = { requestInit: { headers: { Authorization: `Bearer ${plan.key}` } } };
await client.connect(overSse
  ? new SSEClientTransport(new URL(`${plan.url}/sse`), options)
  : new StreamableHTTPClientTransport(new URL(plan.url), options));

const tools = [];
for (let cursor; ;) {
  const page = await client.listTools(cursor === undefined ? undefined : { cursor });
  tools.push(...page.tools);
  cursor = page.nextCursor;
  if (cursor === undefined) break;
}

const calls = [];
for (const { name, args } of plan.calls) {
  try {
    const result = await client.callTool({ name, arguments: args });
    const text = result.content.filter((c) => c.type === 'text').map((c) => c.text).join('\n');
    calls.push({ failed: result.isError === true, text });
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    calls.push({ code: error.code, message: error.message });
  }
}
const seen = { protocol: client.getNegotiatedProtocolVersion(), tools, calls, prompts: [], resources: [] };
if (plan.prompts.length > 0) seen.prompt_names = (await client.listPrompts()).prompts.map((p) => p.name);
for (const { name, args } of plan.prompts) {
  seen.prompts.push((await client.getPrompt({ name, arguments: args })).messages[0].content.text);
}
for (const uri of plan.resources) seen.resources.push((await client.readResource({ uri })).contents[0].text);
await client.close();
console.log(JSON.stringify(seen));
