// `@ai-sdk/mcp` answers elicitations; of the other things that deeds.py is about it has none. A plan comes on stdin, one JSON line of
// facts goes to stdout.
import { readFileSync } from 'node:fs';
import { createMCPClient, ElicitationRequestSchema } from '@ai-sdk/mcp';

const plan = JSON.parse(readFileSync(0, 'utf8'));
const seen = { asked: [] };
const client = await createMCPClient({
  transport: { type: plan.transport === 'sse' ? 'sse' : 'http', url: plan.url },
  capabilities: { elicitation: {} },
  protocolVersionDiscovery: plan.mode === 'auto',
});
client.onElicitationRequest(ElicitationRequestSchema, ({ params }) => {
  seen.asked.push(params.message);
  return { action: 'accept', content: { response: 'yes' } };
});
seen.protocol = client.initializeResult.protocolVersion;
await client.listTools();
const [name, args] = plan.tools.elicit;
seen.elicitation = (await client.callTool({ name, arguments: args })).content[0].text;
await client.close();
console.log(JSON.stringify(seen));
