"""The client of the conformance suite's client leg: Strait in front of the suite's mock server, and `mcp` 2.x in front of Strait.

    conformance_client.py STRAIT|none MODE URL

The suite starts it with the URL of its mock, and looks at what arrives there: at what Strait sends, that is. It does everything
that it is shown: calls every tool, or makes the calls that the suite names, reads every resource, gets every prompt.
"""

import asyncio
import json
import os
import pathlib
import signal
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from conformance import start_strait  # noqa: E402 (it is beside this folder)
from mcp import Client, types  # noqa: E402

STUBS = {"string": "x", "integer": 1, "number": 1, "boolean": True, "object": {}, "array": []}


def stubs(schema: dict, names: list[str]) -> dict:
    """Values for `names`: what the schema gives as default, else something of the right type."""
    known = schema.get("properties", {})
    return {name: known[name].get("default", STUBS.get(known[name].get("type"))) for name in names}


async def elicited(_, params):
    return types.ElicitResult(action="accept", content=stubs(params.requested_schema, list(params.requested_schema["properties"])))


async def sampled(_, params):
    return types.CreateMessageResult(role="assistant", content=types.TextContent(type="text", text="sampled"), model="stub")


async def rooted(_):
    return types.ListRootsResult(roots=[])


def calls(tools: list[types.Tool]) -> list[tuple[str, dict]]:
    if "MCP_CONFORMANCE_CONTEXT" in os.environ:
        named = json.loads(os.environ["MCP_CONFORMANCE_CONTEXT"]).get("toolCalls", [])
        return [(call["name"], call["arguments"]) for call in named]
    made = [(tool.name, stubs(tool.input_schema, tool.input_schema.get("required", []))) for tool in tools]
    schemas = {tool.name: tool.input_schema for tool in tools}
    # The suite wants to see the schema as it came.
    return [(name, {"schema": schemas["json_schema_2020_12_tool"]} if name == "json_schema_echo" else args) for name, args in made]


async def everything(url: str, mode: str):
    async with Client(url, mode=mode, elicitation_callback=elicited, sampling_callback=sampled, list_roots_callback=rooted) as client:
        capabilities = client.server_capabilities
        for name, args in calls((await client.list_tools()).tools if capabilities.tools else []):
            try:
                print(name, await client.call_tool(name, args))
            except Exception as error:  # the suite's mock answers some calls wrongly, and judges what it was sent
                print(name, error)
        if capabilities.resources:
            for resource in (await client.list_resources()).resources:
                print(await client.read_resource(resource.uri))
        if capabilities.prompts:
            for prompt in (await client.list_prompts()).prompts:
                print(await client.get_prompt(prompt.name))


def main():
    strait, mode, upstream = sys.argv[1:]
    if strait == "none":
        return asyncio.run(everything(upstream, mode))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that Strait ends when the suite has lost its patience
    with tempfile.TemporaryDirectory(prefix="client-leg-", dir=os.getcwd()) as home:
        with start_strait(strait, upstream, pathlib.Path(home)) as running:
            try:
                asyncio.run(everything(running.url, mode))
            finally:
                print(running.tail(), file=sys.stderr)


main()
