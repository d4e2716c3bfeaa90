#!/usr/bin/env python3
"""Real MCP clients against `strait echo`, directly and through `strait up`: what measures must itself be a peer.

    tests/peers/echo.py [--strait PATH]

The Python and TypeScript clients of `run.py`, in each era they speak, list the tools and call some of a plain echo server, of one
that answers with event streams, and of one whose tools take three pages. Standard library only; `install` comes first.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import tempfile

import processes
from processes import free_port, listens, stop, wait_for
from run import CACHE, CLIENTS, HERE, NODE, NPM, ROOT, Client, Tally, expect, same

TEXTS = ["", "plain", "Grüße, 海峡 \u2028 🌊 \"\\", "long " * 20_000]
SERVERS = {"plain": ([], 4), "events": (["--events", "3:1ms"], 4), "pages": (["--tools", "1200"], 1200)}
# How the client finds the server: by itself, or through a gateway that speaks one era to it.
WAYS = ["direct", "modern", "legacy"]


@dataclasses.dataclass
class Started:
    child: subprocess.Popen
    url: str


def echo(strait: str, options: list[str]) -> Started:
    child = subprocess.Popen([strait, "echo", "--bind", "127.0.0.1:0", *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    ready, _, _ = select.select([child.stdout], [], [], 30)
    url = child.stdout.readline().strip() if ready else ""
    if not url.startswith("http://"):
        stop(child, signal.SIGKILL)
        raise RuntimeError(f"strait echo said `{url}` within 30 s, not its address")
    return Started(child, url)


def gateway(strait: str, upstream: str, era: str, home: pathlib.Path) -> Started:
    port, admin = free_port(), free_port()
    (home / "strait.yaml").write_text(json.dumps({
        "strait": 1,
        "listeners": {"main": {"bind": f"127.0.0.1:{port}"}},
        "admin": {"bind": f"127.0.0.1:{admin}"},
        "upstreams": {"echo": {"http": upstream, "era": era}},
        "servers": {"default": {"path": "/mcp", "tools": ["*"]}},
        "policy": {"default": "deny", "rules": [{"id": "all", "allow": ["*"]}]},
    }))
    with open(home / "strait.log", "ab") as log:
        child = subprocess.Popen([strait, "up", "strait.yaml", "--state", "state"], cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}/mcp"

    def opened():
        expect(child.poll() is None, f"strait ended:\n{(home / 'strait.log').read_text(errors='replace')[-1500:]}")
        return listens(port)

    try:
        wait_for("the gateway's listener", 30, opened)
    except BaseException:
        stop(child, signal.SIGKILL)
        raise
    return Started(child, url)


def trial(client: Client, mode: str, url: str, tools: int) -> str:
    last = "echo" if tools == 1 else f"echo_{tools}"
    calls = [{"name": name, "args": {"text": text}} for name in ("echo", last) for text in TEXTS]
    plan = {"url": url, "key": "sk-nobody-asks", "mode": mode, "calls": calls + [{"name": "echo_0", "args": {}}], "prompts": [], "resources": []}
    done = processes.run(client.command, 120, json.dumps(plan).encode())
    expect(done.status == 0, f"exit {done.status}: {done.err[-1500:]}")
    facts = json.loads(done.out)
    same(facts["protocol"], client.modes[mode], "revision")
    same([tool["name"] for tool in facts["tools"]], ["echo"] + [f"echo_{n}" for n in range(2, tools + 1)], "tools")
    same(facts["calls"][:-1], [{"failed": False, "text": call["args"]["text"]} for call in calls], "answers")
    same(facts["calls"][-1]["code"], -32602, "code of an unknown tool")
    return f"{facts['protocol']} {tools} tools"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--strait", default=str(ROOT / "target/release/strait"), help="the binary to try")
    strait = os.path.abspath(options.parse_args().strait)
    expect((CACHE / "stamp").exists(), "tests/peers/install has not run")
    for driver in (HERE / "clients").glob("*.mjs"):
        shutil.copy(driver, NPM)  # an ES module finds packages only beside itself
    os.environ["PATH"] = f"{NODE}:{os.environ['PATH']}"
    processes.bound(15)
    tally = Tally()
    clients = [client for client in CLIENTS if client.asks_for_hidden and "read" in client.can]
    for kind, (arguments, tools) in SERVERS.items():
        server = echo(strait, arguments)
        try:
            for way in WAYS:
                home = pathlib.Path(tempfile.mkdtemp(prefix="strait-echo-"))
                between = gateway(strait, server.url, way, home) if way != "direct" else None
                try:
                    for client in clients:
                        for mode in (mode for mode in client.modes if mode != "sse"):  # `strait echo` has no HTTP+SSE
                            name = f"{kind}, {way}: {client.name} {mode}"
                            tally.check(name, lambda: trial(client, mode, (between or server).url, tools))
                finally:
                    if between:
                        stop(between.child)
                    shutil.rmtree(home)
        finally:
            stop(server.child, signal.SIGKILL)
    for name in tally.failed:
        print(f"failed: {name}")
    print(f"{tally.passed} passed, {len(tally.failed)} failed")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
