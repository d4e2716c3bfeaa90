"""The `fastmcp` 4.x client. A plan comes on stdin, one JSON line of facts goes to stdout."""

import asyncio
import json
import sys

from fastmcp import Client
from fastmcp.client.transports import SSETransport
from mcp import MCPError


async def call(client: Client, name: str, args: dict) -> dict:
    try:
        result = await client.call_tool(name, args, raise_on_error=False)
    except MCPError as error:
        return {"code": error.code, "message": error.error.message}
    return {"failed": bool(result.is_error), "text": "\n".join(c.text for c in result.content if c.type == "text")}


async def facts(plan: dict) -> dict:
    over_sse = plan["mode"] == "sse"
    where = SSETransport(f"{plan['url']}/sse", auth=plan["key"]) if over_sse else plan["url"]
    how = {"mode": "legacy"} if over_sse else {"auth": plan["key"], "mode": plan["mode"]}
    async with Client(where, timeout=30, **how) as client:
        tools = [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in await client.list_tools()]
        seen = {"protocol": client.session.protocol_version, "tools": tools}
        seen["calls"] = [await call(client, c["name"], c["args"]) for c in plan["calls"]]
        if plan["prompts"]:
            seen["prompt_names"] = [prompt.name for prompt in await client.list_prompts()]
        got = [await client.get_prompt(p["name"], p["args"]) for p in plan["prompts"]]
        seen["prompts"] = [prompt.messages[0].content.text for prompt in got]
        read = [await client.read_resource(uri) for uri in plan["resources"]]
        seen["resources"] = [contents[0].text for contents in read]
        return seen


print(json.dumps(asyncio.run(facts(json.load(sys.stdin)))))
