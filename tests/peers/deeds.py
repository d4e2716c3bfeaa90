#!/usr/bin/env python3
"""What goes beyond asking, by real clients with servers of three SDKs behind Strait: the server asks for an elicitation, for sampling
and for roots in the middle of a call, reports progress and logs; the client subscribes, is told, unsubscribes, and gives up a call.

    tests/peers/deeds.py [--full] [--strait PATH] [--only WORD] [--keep]

Every client in each era and transport it speaks, with every fixture and with server-everything over each of its transports, as far
as both ends can: so each pair of eras, and each client at servers that are not of its own SDK. The facts must be the same for all,
whatever the bridge. Without `--full`, the SDKs' own clients with the fixtures, and all clients with server-everything over Streamable
HTTP; with it, all, and again with every request forced onto the wrong worker. Standard library only; `install` comes first.
"""

import argparse
import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import shutil
import sys
import tempfile

import processes
from conformance import FIXTURES, Fixture, Running, put_fixtures, start_fixture
from processes import free_port, stop
from run import CACHE, HERE, LEGACY, MODERN, NODE, NPM, PYTHON, ROOT, Tally, everything_over, expect, same
from run import SERVERS as NPM_SERVERS


@dataclasses.dataclass(frozen=True)
class Client:
    name: str
    command: tuple[str, ...]
    mode: str
    protocol: str | None  # the revision that must come of it, if the client says
    transport: str = "http"
    deeds: tuple[str, ...] = ("ask", "tell", "watch", "cancel")
    asked_for: tuple[str, ...] = ("elicitation", "sampling", "roots")
    drops_late: bool = False  # progress that comes in one read with the answer is lost to it, without Strait too


PYTHON_DEEDS = (PYTHON, str(HERE / "clients/deeds_python.py"))
TS_CLIENT = ("node", str(NPM / "deeds_ts_client.mjs"))
TS_SDK = ("node", str(NPM / "deeds_ts_sdk.mjs"))
FASTMCP = (PYTHON, str(HERE / "clients/deeds_fastmcp.py"))
AI_SDK = ("node", str(NPM / "deeds_ai_sdk.mjs"))
LANGCHAIN = (str(CACHE / "py-langchain/bin/python"), str(HERE / "clients/deeds_langchain.py"))
CLIENTS = [
    Client("mcp (Python)", PYTHON_DEEDS, "auto", MODERN),
    Client("mcp (Python)", PYTHON_DEEDS, "legacy", LEGACY),
    Client("mcp (Python)", PYTHON_DEEDS, "legacy", LEGACY, "sse"),
    Client("client (TypeScript)", TS_CLIENT, "auto", MODERN),
    Client("client (TypeScript)", TS_CLIENT, "legacy", LEGACY),
    Client("client (TypeScript)", TS_CLIENT, "legacy", LEGACY, "sse", drops_late=True),
    Client("sdk (TypeScript)", TS_SDK, "legacy", None),
    Client("sdk (TypeScript)", TS_SDK, "legacy", None, "sse", drops_late=True),
    Client("fastmcp", FASTMCP, "auto", MODERN, deeds=("ask", "tell")),
    Client("fastmcp", FASTMCP, "legacy", LEGACY, deeds=("ask", "tell")),
    Client("fastmcp", FASTMCP, "legacy", LEGACY, "sse", deeds=("ask", "tell")),
    Client("@ai-sdk/mcp", AI_SDK, "auto", MODERN, deeds=("ask",), asked_for=("elicitation",)),
    Client("@ai-sdk/mcp", AI_SDK, "legacy", LEGACY, deeds=("ask",), asked_for=("elicitation",)),
    Client("@ai-sdk/mcp", AI_SDK, "legacy", LEGACY, "sse", deeds=("ask",), asked_for=("elicitation",)),
    Client("langchain", LANGCHAIN, "legacy", None, deeds=("ask", "tell"), asked_for=("elicitation",)),
    Client("langchain", LANGCHAIN, "legacy", None, "sse", deeds=("ask", "tell"), asked_for=("elicitation",)),
]


@dataclasses.dataclass(frozen=True)
class Server:
    """What stands behind Strait: which of its tools is for which deed, and what must come of it."""

    name: str
    path: str
    tools: dict[str, tuple[str, dict]]
    watched: str
    asked: str  # its elicitation's words
    answered: str  # what it makes of the answer, and so on
    sampled: str
    sampling: str
    progress: tuple[float, ...]
    logged: tuple[str, ...] = ()
    deeds: tuple[str, ...] = ("ask", "tell", "watch", "cancel")
    # What it does for a session shows in no other; calls of a modern client have one for each worker that they arrive at.
    in_session: tuple[str, ...] = ()

    def can(self, client: Client, deed: str) -> bool:
        return deed in self.deeds and deed in client.deeds and not (client.protocol == MODERN and deed in self.in_session)


def fixture_server(fixture: Fixture) -> Server:
    tools = {
        "elicit": ("test_elicitation", {"message": "may it?"}), "sample": ("test_sampling", {"prompt": "say a word"}),
        "roots": ("test_input_required_result_list_roots", {}), "progress": ("test_tool_with_progress", {}),
        "log": ("test_tool_with_logging", {}), "touch": ("test_trigger_resource_change", {}), "wait": ("test_wait", {"key": "{wait}"}),
        "cancelled": ("test_cancelled", {}),
    }
    return Server(fixture.name, fixture.name.split()[-1], tools, "test://watched-resource", "may it?",
                  'User response: action=accept, content={"response":"yes"}', "say a word", "LLM response: a word", (0, 50, 100),
                  ("Tool execution started", "Tool processing data", "Tool execution completed"))


def everything(name: str, path: str) -> Server:
    """It logs at random, and does not look whether a call was cancelled."""
    tools = {
        "elicit": ("trigger-elicitation-request", {}), "sample": ("trigger-sampling-request", {"prompt": "say a word", "maxTokens": 9}),
        "roots": ("get-roots-list", {}), "progress": ("trigger-long-running-operation", {"duration": 0.2, "steps": 2}),
        "touch": ("toggle-subscriber-updates", {}),
    }
    return Server(name, path, tools, "demo://resource/dynamic/text/1", "Please provide inputs for the following fields:",
                  "User provided the requested information!", "Resource trigger-sampling-request context: say a word",
                  '"text": "a word"', (1, 2), deeds=("ask", "tell", "watch"),
                  in_session=() if path == "everything_stdio" else ("watch",))


EVERYTHING_HTTP = everything("server-everything", "everything")
EVERYTHING_SSE = everything("server-everything over HTTP+SSE", "everything_sse")
EVERYTHING_STDIO = everything("server-everything over stdio", "everything_stdio")
SERVERS = [*map(fixture_server, FIXTURES), EVERYTHING_HTTP, EVERYTHING_SSE, EVERYTHING_STDIO]


def is_quick(client: Client, server: Server) -> bool:
    """The SDKs' own clients with the fixtures, and every client with one real server."""
    return server is EVERYTHING_HTTP or (client.command in (PYTHON_DEEDS, TS_CLIENT, TS_SDK) and server in SERVERS[:len(FIXTURES)])


def start_strait(strait: str, upstreams: dict[str, dict], home: pathlib.Path, options: list[str]) -> Running:
    """Every server behind a path of its own."""
    port = free_port()
    servers = {name: {"path": f"/{name}/mcp", **{kind: [f"{name}.*"] for kind in ("tools", "prompts", "resources")}} for name in upstreams}
    (home / "strait.yaml").write_text(json.dumps({
        "strait": 1, "listeners": {"main": {"bind": f"127.0.0.1:{port}"}}, "admin": {"bind": f"127.0.0.1:{free_port()}"},
        "upstreams": upstreams, "servers": servers, "policy": {"default": "deny", "rules": [{"id": "all", "allow": ["*"]}]},
    }))
    return Running([strait, "up", "strait.yaml", "--state", "state", "--workers", "2", *options], port, home, "strait")


def trial(client: Client, server: Server, url: str, deed: str, wait: str) -> str:
    tools = {of: (name, {key: wait if value == "{wait}" else value for key, value in args.items()}) for of, (name, args) in server.tools.items()}
    plan = {"url": url, "mode": client.mode, "transport": client.transport, "deeds": [deed], "tools": tools, "watched": server.watched, "wait": wait}
    done = processes.run([*client.command], 60, json.dumps(plan).encode())
    expect(done.status == 0, f"exit {done.status}: {done.err[-1800:]}")
    seen = json.loads(done.out)
    if client.protocol:
        same(seen["protocol"], client.protocol, "revision")
    DEEDS[deed](client, server, seen)
    return seen.get("protocol") or ""


def says(text: str, words: str, what: str):
    """Whatever its spaces."""
    expect("".join(words.split()) in "".join(text.split()), f"{what}: {text}")


def asks(client: Client, server: Server, seen: dict):
    same(seen["asked"], [server.asked], "what the user was asked")
    says(seen["elicitation"], server.answered, "what the server made of the answer")
    if "sampling" in client.asked_for:
        same(seen["sampled"], [server.sampled], "what the model was asked")
        says(seen["sampling"], server.sampling, "what the server made of the sample")
    if "roots" in client.asked_for:
        says(seen["roots"], "file:///srv/peers", "roots")


def tells(client: Client, server: Server, seen: dict):
    last = len(seen["progress"]) if client.drops_late and seen["progress"] else None
    same(seen["progress"], [*server.progress][:last], "progress")
    if server.logged:
        same(seen["logged"], [*server.logged], "log messages")


def watches(client: Client, server: Server, seen: dict):
    same(seen["updated"], [server.watched], "updates of a resource, of which the second came after the end of the subscription")


def cancels(client: Client, server: Server, seen: dict):
    same(seen["cancelled"], True, "the server saw the call given up")


DEEDS = {"ask": asks, "tell": tells, "watch": watches, "cancel": cancels}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--full", action="store_true", help="all clients with all servers, and again on the wrong worker")
    options.add_argument("--strait", default=str(ROOT / "target/release/strait"), help="the binary to try")
    options.add_argument("--only", default="", help="only trials whose name contains this")
    options.add_argument("--keep", action="store_true", help="leave the work folder, with its logs")
    chosen = options.parse_args()
    expect((CACHE / "stamp").exists(), "tests/peers/install has not run")
    os.environ["PATH"] = f"{NODE}:{os.environ['PATH']}"
    processes.bound(120 if chosen.full else 25)
    for driver in (HERE / "clients").glob("*.mjs"):
        shutil.copy(driver, NPM)  # an ES module finds packages only beside itself
    put_fixtures()

    tally, work = Tally(), pathlib.Path(tempfile.mkdtemp(prefix="strait-deeds-"))
    for name, more in [("", []), *([("wrong worker: ", ["--force-wrong-worker"])] if chosen.full else [])]:
        with contextlib.ExitStack() as open_now:
            upstreams = {}
            for fixture, server in zip(FIXTURES, SERVERS):
                home = pathlib.Path(tempfile.mkdtemp(dir=work, prefix="fixture-"))
                upstreams[server.path] = {"http": open_now.enter_context(start_fixture(fixture, home)).url}
            for server, transport, end in ((EVERYTHING_HTTP, "streamableHttp", "mcp"), (EVERYTHING_SSE, "sse", "sse")):
                child, port = everything_over(transport, work)
                open_now.callback(stop, child)
                upstreams[server.path] = {"http": f"http://127.0.0.1:{port}/{end}"}
            script = str(NPM_SERVERS / "server-everything/dist/index.js")
            upstreams[EVERYTHING_STDIO.path] = {"stdio": {"command": "node", "args": [script, "stdio"], "per": "session"}}
            strait = start_strait(os.path.abspath(chosen.strait), upstreams, pathlib.Path(tempfile.mkdtemp(dir=work, prefix="strait-")), more)
            open_now.enter_context(strait)
            for client, server in itertools.product(CLIENTS, SERVERS):
                what = f"{name}{client.name} {client.mode}{', HTTP+SSE' if client.transport == 'sse' else ''} with {server.name}"
                url = f"http://127.0.0.1:{strait.port}/{server.path}/mcp{'/sse' if client.transport == 'sse' else ''}"
                for deed in DEEDS:
                    if server.can(client, deed) and (chosen.full or is_quick(client, server)) and chosen.only in f"{what}: {deed}":
                        tally.check(f"{what}: {deed}", lambda: trial(client, server, url, deed, what))
    return tally.end(work, chosen.keep)


if __name__ == "__main__":
    sys.exit(main())
