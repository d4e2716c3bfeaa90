"""The official Python client (`mcp` 2.x). A plan comes on stdin, one JSON line of facts goes to stdout."""

import asyncio
import json
import sys

from mcp import Client, MCPError
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client


async def call(client: Client, name: str, args: dict) -> dict:
    try:
        result = await client.call_tool(name, args)
    except MCPError as error:
        return {"code": error.code, "message": error.error.message}
    return {"failed": bool(result.is_error), "text": "\n".join(c.text for c in result.content if c.type == "text")}


async def facts(plan: dict) -> dict:
    http = create_mcp_http_client(headers={"Authorization": f"Bearer {plan['key']}"})
    if plan["mode"] == "sse":  # HTTP+SSE of 2024-11-05, which newer revisions are spoken over as well
        transport = sse_client(f"{plan['url']}/sse", headers={"Authorization": f"Bearer {plan['key']}"})
    else:
        transport = streamable_http_client(plan["url"], http_client=http)
    mode = "legacy" if plan["mode"] == "sse" else plan["mode"]
    async with http, Client(transport, mode=mode, read_timeout_seconds=30) as client:
        tools, cursor = [], None
        while True:
            page = await client.list_tools(cursor=cursor)
            tools += [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in page.tools]
            cursor = page.next_cursor
            if cursor is None:
                break
        seen = {"protocol": client.protocol_version, "tools": tools}
        seen["calls"] = [await call(client, c["name"], c["args"]) for c in plan["calls"]]
        if plan["prompts"]:
            seen["prompt_names"] = [prompt.name for prompt in (await client.list_prompts()).prompts]
        got = [await client.get_prompt(p["name"], p["args"]) for p in plan["prompts"]]
        seen["prompts"] = [prompt.messages[0].content.text for prompt in got]
        read = [await client.read_resource(uri) for uri in plan["resources"]]
        seen["resources"] = [resource.contents[0].text for resource in read]
        return seen


print(json.dumps(asyncio.run(facts(json.load(sys.stdin)))))
