"""The official Python client (`mcp` 2.x) does what goes beyond asking: see deeds.py. A plan comes on stdin, one JSON line of facts goes
to stdout. The plan's `url` with the transport `sse` is one of HTTP+SSE."""

import asyncio
import contextlib
import json
import sys
import warnings

import anyio
from mcp import Client, types
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

warnings.simplefilter("ignore")  # of what 2026-07-28 has no more, and older servers have
plan = json.load(sys.stdin)
seen = {"asked": [], "sampled": [], "progress": [], "logged": [], "updated": []}
changed = asyncio.Event()


async def elicited(_, params):
    seen["asked"].append(params.message)
    return types.ElicitResult(action="accept", content={"response": "yes"})


async def sampled(_, params):
    seen["sampled"].append(params.messages[0].content.text)
    return types.CreateMessageResult(role="assistant", content=types.TextContent(type="text", text="a word"), model="stub")


async def rooted(_):
    return types.ListRootsResult(roots=[types.Root(uri="file:///srv/peers")])


async def logged(params):
    seen["logged"].append(params.data)


async def progressed(progress, total, message):
    seen["progress"].append(progress)


async def heard(message):
    if isinstance(message, types.ResourceUpdatedNotification):
        seen["updated"].append(str(message.params.uri))
        changed.set()


async def said(client: Client, deed: str, **more) -> str:
    """What a tool of the plan, by the deed that it is for, says."""
    name, args = plan["tools"][deed]
    return (await client.call_tool(name, args, **more)).content[0].text


@contextlib.asynccontextmanager
async def subscribed(client: Client):
    if client.protocol_version < "2026":
        await client.subscribe_resource(plan["watched"])
        yield
        await client.unsubscribe_resource(plan["watched"])
        return
    async with client.listen(resource_subscriptions=[plan["watched"]]):
        yield  # what comes on the stream is shown to the message handler too


async def cancelled(client: Client) -> bool:
    """A call is given up as soon as it reports; the server must come to know."""
    reported = asyncio.Event()

    async def step(*_):
        reported.set()

    call = asyncio.create_task(said(client, "wait", progress_callback=step))
    await reported.wait()
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await call
    while plan["wait"] not in await said(client, "cancelled"):
        await asyncio.sleep(0.05)
    return True


async def main():
    transport = sse_client(plan["url"]) if plan["transport"] == "sse" else streamable_http_client(plan["url"])
    async with Client(transport, mode=plan["mode"], read_timeout_seconds=30, elicitation_callback=elicited, sampling_callback=sampled,
                      list_roots_callback=rooted, logging_callback=logged, message_handler=heard, log_level="info") as client:
        seen["protocol"] = client.protocol_version
        await client.list_tools()
        if "ask" in plan["deeds"]:
            seen["elicitation"] = await said(client, "elicit")
            seen["sampling"] = await said(client, "sample")
            seen["roots"] = await said(client, "roots")
        if "tell" in plan["deeds"]:
            await said(client, "progress", progress_callback=progressed)
            if client.protocol_version < "2026":
                await client.set_logging_level("info")
            if "log" in plan["tools"]:
                await said(client, "log")
        if "watch" in plan["deeds"]:
            async with subscribed(client):
                await said(client, "touch")
                await changed.wait()
            await said(client, "touch")
        if "cancel" in plan["deeds"]:
            seen["cancelled"] = await cancelled(client)
        seen["done"] = True


async def to_the_end():
    try:
        await main()
    except* anyio.BrokenResourceError:
        # `sse_client` fails so when a message arrives while it closes: after all that it was asked for.
        if "done" not in seen:
            raise


asyncio.run(asyncio.wait_for(to_the_end(), 40))
print(json.dumps(seen))
