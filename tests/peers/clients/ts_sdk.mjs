// The first TypeScript SDK, `@modelcontextprotocol/sdk` 1.x, which knows no era but the older one. A plan comes on stdin,
// one JSON line of facts goes to stdout. It ends its session with DELETE, as its documentation asks; over HTTP+SSE (mode
// `sse`) the session ends with its stream.
import { readFileSync } from 'node:fs';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { McpError } from '@modelcontextprotocol/sdk/types.js';

const plan = JSON.parse(readFileSync(0, 'utf8'));
const client = new Client({ name: 'strait-peers', version: '1' });
const overSse = plan.mode === 'sse';
const options = { requestInit: { headers: { Authorization: `Bearer ${plan.key}` } } };
const transport = overSse
  ? new SSEClientTransport(new URL(`${plan.url}/sse`), options)
  : new StreamableHTTPClientTransport(new URL(plan.url), options);
let negotiated;
const setProtocolVersion = transport.setProtocolVersion.bind(transport);
transport.setProtocolVersion = (version) => setProtocolVersion((negotiated = version));
await client.connect(transport);

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
    if (!(error instanceof McpError)) throw error;
    calls.push({ code: error.code, message: error.message });
  }
}
const seen = { protocol: negotiated, tools, calls, prompts: [], resources: [] };
if (plan.prompts.length > 0) seen.prompt_names = (await client.listPrompts()).prompts.map((p) => p.name);
for (const { name, args } of plan.prompts) {
  seen.prompts.push((await client.getPrompt({ name, arguments: args })).messages[0].content.text);
}
for (const uri of plan.resources) seen.resources.push((await client.readResource({ uri })).contents[0].text);
if (!overSse) await transport.terminateSession();
await client.close();
console.log(JSON.stringify(seen));
