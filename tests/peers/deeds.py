#!/usr/bin/env python3
"""What goes beyond asking, by real clients with servers of three SDKs behind Strait: the server asks for an elicitation, for sampling
and for roots in the middle of a call, reports progress and logs; the client subscribes, is told, unsubscribes, and gives up a call.

    tests/peers/deeds.py [--full] [--strait PATH] [--only WORD] [--keep]

Every client in each era it speaks, with every fixture: so each pair of eras, and each client at servers that are not of its own SDK.
The facts must be the same for all, whatever the bridge. `--full` also forces every request onto the wrong worker. Standard library
only; `install` comes first.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import sys
import tempfile

import processes
from conformance import FIXTURES, Running, put_fixtures, start_fixture
from processes import free_port
from run import CACHE, HERE, LEGACY, MODERN, NODE, NPM, PYTHON, ROOT, Tally, expect, same

WATCHED = "test://watched-resource"


@dataclasses.dataclass(frozen=True)
class Client:
    name: str
    command: tuple[str, ...]
    mode: str
    protocol: str | None  # the revision that must come of it, if the client says
    transport: str = "http"


PYTHON_DEEDS = (PYTHON, str(HERE / "clients/deeds_python.py"))
CLIENTS = [
    Client("mcp (Python)", PYTHON_DEEDS, "auto", MODERN),
    Client("mcp (Python)", PYTHON_DEEDS, "legacy", LEGACY),
    Client("client (TypeScript)", ("node", str(NPM / "deeds_ts_client.mjs")), "auto", MODERN),
    Client("client (TypeScript)", ("node", str(NPM / "deeds_ts_client.mjs")), "legacy", LEGACY),
    Client("sdk (TypeScript)", ("node", str(NPM / "deeds_ts_sdk.mjs")), "legacy", None),
    Client("mcp (Python)", PYTHON_DEEDS, "legacy", LEGACY, "sse"),
    Client("client (TypeScript)", ("node", str(NPM / "deeds_ts_client.mjs")), "legacy", LEGACY, "sse"),
    Client("sdk (TypeScript)", ("node", str(NPM / "deeds_ts_sdk.mjs")), "legacy", None, "sse"),
]


def path(fixture_name: str) -> str:
    return "/" + fixture_name.split()[-1]


def start_strait(strait: str, urls: dict[str, str], home: pathlib.Path, options: list[str]) -> Running:
    """Every fixture behind a path of its own."""
    port = free_port()
    upstreams = {path(name)[1:]: {"http": url} for name, url in urls.items()}
    servers = {name: {"path": f"/{name}/mcp", **{kind: [f"{name}.*"] for kind in ("tools", "prompts", "resources")}} for name in upstreams}
    (home / "strait.yaml").write_text(json.dumps({
        "strait": 1, "listeners": {"main": {"bind": f"127.0.0.1:{port}"}}, "admin": {"bind": f"127.0.0.1:{free_port()}"},
        "upstreams": upstreams, "servers": servers, "policy": {"default": "deny", "rules": [{"id": "all", "allow": ["*"]}]},
    }))
    return Running([strait, "up", "strait.yaml", "--state", "state", "--workers", "2", *options], port, home, "strait")


def trial(client: Client, url: str, deed: str, wait: str) -> str:
    plan = {"url": url, "mode": client.mode, "transport": client.transport, "deeds": [deed], "watched": WATCHED, "wait": wait}
    done = processes.run([*client.command], 60, json.dumps(plan).encode())
    expect(done.status == 0, f"exit {done.status}: {done.err[-1800:]}")
    seen = json.loads(done.out)
    if client.protocol:
        same(seen["protocol"], client.protocol, "revision")
    DEEDS[deed](seen)
    return seen.get("protocol") or ""


def asks(seen: dict):
    same(seen["asked"], ["may it?"], "what the user was asked")
    same(seen["elicitation"].replace(" ", ""), 'Userresponse:action=accept,content={"response":"yes"}', "what the server made of the answer")
    same(seen["sampled"], ["say a word"], "what the model was asked")
    same(seen["sampling"], "LLM response: a word", "what the server made of the sample")
    expect("file:///srv/peers" in seen["roots"], f"roots: {seen['roots']}")


def tells(seen: dict):
    same(seen["progress"], [0, 50, 100], "progress")
    same(seen["logged"], ["Tool execution started", "Tool processing data", "Tool execution completed"], "log messages")


def watches(seen: dict):
    same(seen["updated"], [WATCHED], "updates of a resource, of which the second came after the end of the subscription")


def cancels(seen: dict):
    same(seen["cancelled"], True, "the server saw the call given up")


DEEDS = {"ask": asks, "tell": tells, "watch": watches, "cancel": cancels}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--full", action="store_true", help="again with every request on the wrong worker")
    options.add_argument("--strait", default=str(ROOT / "target/release/strait"), help="the binary to try")
    options.add_argument("--only", default="", help="only trials whose name contains this")
    options.add_argument("--keep", action="store_true", help="leave the work folder, with its logs")
    chosen = options.parse_args()
    expect((CACHE / "stamp").exists(), "tests/peers/install has not run")
    os.environ["PATH"] = f"{NODE}:{os.environ['PATH']}"
    processes.bound(30 if chosen.full else 15)
    for driver in (HERE / "clients").glob("*.mjs"):
        shutil.copy(driver, NPM)  # an ES module finds packages only beside itself
    put_fixtures()

    tally, work = Tally(), pathlib.Path(tempfile.mkdtemp(prefix="strait-deeds-"))
    for name, more in [("", []), *([("wrong worker: ", ["--force-wrong-worker"])] if chosen.full else [])]:
        with contextlib.ExitStack() as open_now:
            homes = {fixture: pathlib.Path(tempfile.mkdtemp(dir=work, prefix="fixture-")) for fixture in FIXTURES}
            urls = {fixture.name: open_now.enter_context(start_fixture(fixture, homes[fixture])).url for fixture in FIXTURES}
            strait = start_strait(os.path.abspath(chosen.strait), urls, pathlib.Path(tempfile.mkdtemp(dir=work, prefix="strait-")), more)
            open_now.enter_context(strait)
            for client in CLIENTS:
                for fixture in FIXTURES:
                    what = f"{name}{client.name} {client.mode}{', HTTP+SSE' if client.transport == 'sse' else ''} with {fixture.name}"
                    url = f"http://127.0.0.1:{strait.port}{path(fixture.name)}/mcp{'/sse' if client.transport == 'sse' else ''}"
                    for deed in DEEDS:
                        if chosen.only in f"{what}: {deed}":
                            tally.check(f"{what}: {deed}", lambda: trial(client, url, deed, what))
    return tally.end(work, chosen.keep)


if __name__ == "__main__":
    sys.exit(main())
