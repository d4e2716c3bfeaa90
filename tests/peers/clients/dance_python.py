"""The official Python client (`mcp` 2.x) with nothing but a URL: its own OAuth provider finds out where a token comes from, registers,
sends its user to the provider, and calls. A plan comes on stdin; after each call a JSON line of facts goes to stdout, and before the
next one a line is awaited."""

import asyncio
import json
import pathlib
import sys
import urllib.parse

from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

sys.path.append(str(pathlib.Path(__file__).parent.parent / "fixtures"))
from browser import Callback, visit  # noqa: E402


class Storage:
    tokens = client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client_info):
        self.client = client_info


async def walk(plan: dict, callback: Callback):
    storage, visits = Storage(), []

    async def redirect(url: str):
        visits.append(url)
        await asyncio.to_thread(visit, url)

    async def returned() -> AuthorizationCodeResult:
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(callback.came.get(timeout=10)).query))
        return AuthorizationCodeResult(code=query["code"], state=query.get("state"), iss=query.get("iss"))

    metadata = OAuthClientMetadata(client_name="mcp", redirect_uris=[callback.url], grant_types=["authorization_code", "refresh_token"])
    auth = OAuthClientProvider(plan["url"], metadata, storage, redirect, returned)
    http = create_mcp_http_client(auth=auth)
    transport = sse_client(f"{plan['url']}/sse", auth=auth) if plan["mode"] == "sse" else streamable_http_client(plan["url"], http_client=http)
    async with http, Client(transport, mode="legacy" if plan["mode"] == "sse" else plan["mode"], read_timeout_seconds=30) as client:
        for number, (tool, args) in enumerate(plan["calls"]):
            if number:
                await asyncio.to_thread(sys.stdin.readline)
            result = await client.call_tool(tool, args)
            seen = {"protocol": client.protocol_version, "text": result.content[0].text, "scope": storage.tokens.scope, "visits": len(visits)}
            print(json.dumps(seen), flush=True)


with Callback() as callback:
    asyncio.run(walk(json.loads(sys.stdin.readline()), callback))
