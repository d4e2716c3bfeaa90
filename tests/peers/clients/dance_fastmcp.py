"""`fastmcp` with nothing but a URL: `auth="oauth"`, as its documentation begins. It opens the page by $BROWSER. A plan comes on stdin;
one JSON line of facts goes to stdout."""

import asyncio
import json
import sys

from fastmcp import Client
from fastmcp.client.transports import SSETransport, StreamableHttpTransport

plan = json.loads(sys.stdin.readline())


async def walk():
    if plan["mode"] == "sse":
        transport = SSETransport(f"{plan['url']}/sse", auth="oauth")
    else:
        transport = StreamableHttpTransport(plan["url"], auth="oauth")
    async with Client(transport, mode="legacy" if plan["mode"] == "sse" else plan["mode"], timeout=30) as client:
        result = await client.call_tool("greet", {"name": "Ada"})
        print(json.dumps({"protocol": client.protocol_version, "text": result.content[0].text, "scope": None, "visits": None}))


asyncio.run(walk())
