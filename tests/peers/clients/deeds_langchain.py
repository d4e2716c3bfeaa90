"""`langchain-mcp-adapters` does what goes beyond asking, as far as it can: it answers elicitations, and hears progress and log messages.
See deeds.py. A plan comes on stdin, one JSON line of facts goes to stdout."""

import asyncio
import json
import sys

from langchain_mcp_adapters.callbacks import Callbacks
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools
from mcp.types import ElicitResult

plan = json.load(sys.stdin)
seen = {"asked": [], "progress": [], "logged": []}


async def elicited(_, params, context):
    seen["asked"].append(params.message)
    return ElicitResult(action="accept", content={"response": "yes"})


async def logged(params, context):
    seen["logged"].append(params.data)


async def progressed(progress, total, message, context):
    seen["progress"].append(progress)


async def main():
    callbacks = Callbacks(on_elicitation=elicited, on_logging_message=logged, on_progress=progressed)
    transport = "sse" if plan["transport"] == "sse" else "http"
    client = MultiServerMCPClient({"strait": {"transport": transport, "url": plan["url"]}}, callbacks=callbacks)
    async with client.session("strait") as session:
        tools = {tool.name: tool for tool in await load_mcp_tools(session, callbacks=callbacks, server_name="strait")}

        async def said(deed: str) -> str:
            name, args = plan["tools"][deed]
            message = await tools[name].ainvoke({"type": "tool_call", "id": "1", "name": name, "args": args})
            return message.content if isinstance(message.content, str) else message.content[0]["text"]

        if "ask" in plan["deeds"]:
            seen["elicitation"] = await said("elicit")
        if "tell" in plan["deeds"]:
            await said("progress")
            await session.set_logging_level("info")
            if "log" in plan["tools"]:
                await said("log")


asyncio.run(asyncio.wait_for(main(), 40))
print(json.dumps(seen))
