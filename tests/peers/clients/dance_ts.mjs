// The TypeScript SDKs with nothing but a URL: the client finds out where a token comes from, registers, and sends its user to the
// provider; what the application does besides (the page on loopback, the code, connecting again) is here. A plan comes on stdin; after
// each call a JSON line of facts goes to stdout, and before the next one a line is awaited.
//
// `sdk` of the plan: `client` (2.x), `sdk` (1.x), or `sdk-2025-03-26`, a 1.x of the time of that revision, which knows nothing of
// documents of resources and asks the gateway's own root for its authorization server.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const plan = JSON.parse((await lines.next()).value);
const from = { sdk: '@modelcontextprotocol/sdk', 'sdk-2025-03-26': 'mcp-sdk-2025-03-26' }[plan.sdk];
const { Client, SSEClientTransport, StreamableHTTPClientTransport, UnauthorizedError } = from
  ? Object.assign({}, ...await Promise.all(['index', 'sse', 'streamableHttp', 'auth'].map((part) => import(`${from}/client/${part}.js`))))
  : await import('@modelcontextprotocol/client');

let came; // with what the user came back
const page = createServer((request, answer) => {
  answer.end();
  came(new URL(request.url, 'http://127.0.0.1').searchParams);
}).listen(0, '127.0.0.1');
await once(page, 'listening');
const redirect = `http://127.0.0.1:${page.address().port}/callback`;

const kept = { visits: 0 };
let back;
const provider = {
  redirectUrl: redirect,
  clientMetadata: {
    client_name: plan.sdk, redirect_uris: [redirect], response_types: ['code'], token_endpoint_auth_method: 'none',
    // With a refresh token 1.x answers a wish for more scopes by refreshing, which gives it no more, and then gives up.
    grant_types: from ? ['authorization_code'] : ['authorization_code', 'refresh_token'],
    ...(plan.sdk === 'sdk-2025-03-26' ? { scope: 'mcp' } : {}), // it does not read the challenge
  },
  clientInformation: () => kept.client,
  saveClientInformation: (client) => { kept.client = client; },
  tokens: () => kept.tokens,
  saveTokens: (tokens) => { kept.tokens = tokens; },
  codeVerifier: () => kept.verifier,
  saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
  discoveryState: () => kept.discovered,
  saveDiscoveryState: (discovered) => { kept.discovered = discovered; },
  redirectToAuthorization(url) {
    kept.visits += 1;
    back = new Promise((resolve, reject) => {
      came = resolve;
      execFile(plan.browser, [url.href], (failed) => failed && reject(failed));
    });
  },
};

let transport;
function open() {
  transport = plan.mode === 'sse'
    ? new SSEClientTransport(new URL(`${plan.url}/sse`), { authProvider: provider })
    : new StreamableHTTPClientTransport(new URL(plan.url), { authProvider: provider });
  return transport;
}

// Does it; where the user has to be asked first, does it again with what came of that.
async function withConsent(does) {
  try {
    return await does();
  } catch (error) {
    if (!(error instanceof UnauthorizedError)) throw error;
    const params = await back;
    await transport.finishAuth(from ? params.get('code') : params);
    return does();
  }
}

const options = plan.sdk === 'client' ? { versionNegotiation: { mode: plan.mode === 'sse' ? 'legacy' : plan.mode } } : {};
let client;
await withConsent(async () => {
  client = new Client({ name: 'strait-peers', version: '1' }, options);
  const request = client.request.bind(client); // 1.x tells nobody what it negotiated
  client.request = async (sent, ...more) => {
    const result = await request(sent, ...more);
    if (sent.method === 'initialize') kept.protocol = result.protocolVersion;
    return result;
  };
  await client.connect(open());
});
for (const [number, [name, args]] of plan.calls.entries()) {
  if (number > 0) await lines.next();
  const result = await withConsent(() => client.callTool({ name, arguments: args }));
  const protocol = client.getNegotiatedProtocolVersion?.() ?? kept.protocol ?? null;
  console.log(JSON.stringify({ protocol, text: result.content[0].text, scope: kept.tokens.scope, visits: kept.visits }));
}
await client.close();
process.exit(0);
