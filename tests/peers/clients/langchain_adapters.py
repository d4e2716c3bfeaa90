"""`langchain-mcp-adapters`: every tool as a LangChain tool. A plan comes on stdin, one JSON line of facts goes to stdout. A tool that
is not listed cannot be called with it."""

import asyncio
import json
import sys

from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools


def text(content) -> str:
    return content if isinstance(content, str) else "\n".join(block["text"] for block in content if block["type"] == "text")


async def call(tools: dict, name: str, args: dict) -> dict:
    if name not in tools:
        return {"code": "tool_not_found", "message": "not listed"}
    message = await tools[name].ainvoke({"type": "tool_call", "id": "1", "name": name, "args": args})
    return {"failed": message.status == "error", "text": text(message.content)}


async def facts(plan: dict) -> dict:
    headers = {"Authorization": f"Bearer {plan['key']}"}
    where = {"transport": "sse", "url": f"{plan['url']}/sse"} if plan["mode"] == "sse" else {"transport": "http", "url": plan["url"]}
    client = MultiServerMCPClient({"strait": {**where, "headers": headers}})
    async with client.session("strait") as session:
        tools = {tool.name: tool for tool in await load_mcp_tools(session)}
        seen = {"protocol": (await client.get_server_info())["strait"].protocolVersion}
        seen["tools"] = [{"name": tool.name, "description": tool.description, "inputSchema": tool.args_schema} for tool in tools.values()]
        seen["calls"] = [await call(tools, c["name"], c["args"]) for c in plan["calls"]]
        if plan["prompts"]:
            seen["prompt_names"] = [prompt.name for prompt in (await session.list_prompts()).prompts]
        got = [await client.get_prompt("strait", p["name"], arguments=p["args"]) for p in plan["prompts"]]
        seen["prompts"] = [prompt[0].content for prompt in got]
        read = [await client.get_resources("strait", uris=uri) for uri in plan["resources"]]
        seen["resources"] = [blobs[0].as_string() for blobs in read]
        return seen


print(json.dumps(asyncio.run(facts(json.load(sys.stdin)))))
