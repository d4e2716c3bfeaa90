"""The `fastmcp` 4.x client does what goes beyond asking: see deeds.py. A plan comes on stdin, one JSON line of facts goes to stdout. It
has no words of its own for subscriptions."""

import asyncio
import json
import sys

from fastmcp import Client
from fastmcp.client.transports import SSETransport

plan = json.load(sys.stdin)
seen = {"asked": [], "sampled": [], "progress": [], "logged": []}


async def elicited(message, *_):
    seen["asked"].append(message)
    return {"response": "yes"}


async def sampled(messages, *_):
    seen["sampled"].append(messages[0].content.text)
    return "a word"


async def logged(message):
    seen["logged"].append(message.data)


async def progressed(progress, total, message):
    seen["progress"].append(progress)


async def said(client: Client, deed: str, **more) -> str:
    """What a tool of the plan, by the deed that it is for, says."""
    name, args = plan["tools"][deed]
    return (await client.call_tool(name, args, **more)).content[0].text


async def main():
    over_sse = plan["transport"] == "sse"
    async with Client(SSETransport(plan["url"]) if over_sse else plan["url"], mode=plan["mode"], timeout=30, elicitation_handler=elicited,
                      sampling_handler=sampled, roots=["file:///srv/peers"], log_handler=logged) as client:
        seen["protocol"] = client.session.protocol_version
        await client.list_tools()
        if "ask" in plan["deeds"]:
            seen["elicitation"] = await said(client, "elicit")
            seen["sampling"] = await said(client, "sample")
            seen["roots"] = await said(client, "roots")
        if "tell" in plan["deeds"]:
            await said(client, "progress", progress_handler=progressed)
            modern = client.session.protocol_version >= "2026"
            if not modern:
                await client.set_logging_level("info")
            if "log" in plan["tools"]:
                await said(client, "log", meta={"io.modelcontextprotocol/logLevel": "info"} if modern else None)


asyncio.run(asyncio.wait_for(main(), 40))
print(json.dumps(seen))
