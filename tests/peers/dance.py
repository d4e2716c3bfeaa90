"""The authorization dance: clients that have nothing but the gateway's URL find out by themselves where a token comes from, register
there, send their user to the provider, and call. `identity.py` runs it.

What a client must have done is read from what the provider was asked, and who it came to be from the gateway's access log.
"""

import dataclasses
import json
import os
import subprocess
import sys
import urllib.parse

import processes
from processes import wait_for
from run import HERE, LEGACY, MODERN, NPM, PYTHON, expect, same

CALLS = ("tools/call", "tools/list")
GREET = ("greet", {"name": "Ada"})
BROWSER = str(HERE / "fixtures/browser.py")


@dataclasses.dataclass(frozen=True)
class Dancer:
    name: str
    command: tuple[str, ...]
    modes: dict[str, str | None]  # how it is told to negotiate -> the revision that must come of it, if it says
    plan: dict = dataclasses.field(default_factory=dict)
    shows: str = "Hello, Ada!"
    steps_up: bool = False  # in a process that goes on


TS = ("node", str(NPM / "dance_ts.mjs"))
CLI = (sys.executable, str(HERE / "clients/dance_cli.py"))
ALL = {"auto": MODERN, "legacy": LEGACY, "sse": LEGACY}
DANCERS = [
    Dancer("mcp (Python)", (PYTHON, str(HERE / "clients/dance_python.py")), ALL, steps_up=True),
    Dancer("client (TypeScript)", TS, ALL, {"sdk": "client"}, steps_up=True),
    Dancer("sdk (TypeScript)", TS, {"legacy": LEGACY, "sse": LEGACY}, {"sdk": "sdk"}, steps_up=True),
    Dancer("fastmcp", (PYTHON, str(HERE / "clients/dance_fastmcp.py")), {"auto": MODERN}),
    Dancer("inspector", CLI, {"auto": None, "legacy": None}, {"client": "inspector"}),
    Dancer("mcporter", CLI, {"legacy": None}, {"client": "mcporter"}),
    Dancer("mcp-remote-client", CLI, {"legacy": None}, {"client": "mcp-remote-client"}, shows="listed"),
]
# It knows nothing of RFC 9728: it asks the root of the gateway for its authorization server, and names no resource.
OF_2025_03_26 = Dancer("sdk 1.11.5 (TypeScript)", TS, {"legacy": "2025-03-26"}, {"sdk": "sdk-2025-03-26"})


class Walk:
    """One client on its way. It greets, and is told when to call again."""

    def __init__(self, dancer: Dancer, mode: str, url: str, *more: tuple[str, dict]):
        self.plan = {"url": url, "mode": mode, "calls": [GREET, *more], "browser": BROWSER, **dancer.plan}
        env = {**os.environ, "PEERS_NPM": str(NPM), "BROWSER": f"{BROWSER} --later %s"}  # the latter for `fastmcp`
        self.child = subprocess.Popen(dancer.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
                                      start_new_session=True)
        self.tell(json.dumps(self.plan))

    def tell(self, line: str):
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()

    def seen(self) -> dict:
        """The facts of the next call. The whole run has an end, should none come."""
        line = self.child.stdout.readline()
        if not line:
            self.child.wait(20)
            raise AssertionError(f"exit {self.child.returncode}: {self.child.stderr.read()[-1800:]}")
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        processes.end_group(self.child)
        for pipe in (self.child.stdin, self.child.stdout, self.child.stderr):
            pipe.close()


def asked(site, since: int) -> list[dict]:
    """What the provider was asked meanwhile, with the queries taken apart."""
    all_of_it = [dict(one, path=urllib.parse.urlsplit(one["url"]).path, query=dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(one["url"]).query)))
                 for one in site.provider.answered()[since:]]
    return [one for one in all_of_it if one["status"] < 400]


def danced(site, dancer: Dancer, mode: str) -> str:
    before, lines = len(site.provider.answered()), len(site.gateway.lines())
    with Walk(dancer, mode, site.gateway.url()) as walk:
        seen = walk.seen()
    same((seen["text"], seen["protocol"]), (dancer.shows, dancer.modes[mode]), "what it got, and the revision")
    steps = asked(site, before)
    expect(any(one["path"].startswith("/.well-known/") for one in steps), "it did not ask where the provider's endpoints are")
    expect(any(one["path"] == "/reg" for one in steps), "it did not register")
    sent = [one["query"] for one in steps if one["path"] == "/auth"]
    same(len({one["code_challenge"] for one in sent}), 1, "how often its user was asked")
    same((sent[0].get("resource"), sent[0].get("code_challenge_method")), (walk.plan["url"], "S256"), "resource and PKCE")
    scopes = set(sent[0]["scope"].split()) - {"offline_access"}
    same(sorted(scopes), ["mcp"], "scopes")
    tokens = [one for one in steps if one["path"] == "/token"]
    same([one["grant_type"] for one in tokens], ["authorization_code"], "grants")
    same(tokens[0]["resource"], walk.plan["url"], "resource of the token")
    who = wait_for("its access lines", 10, lambda: [line for line in site.gateway.lines()[lines:] if line.get("method") in CALLS and "principal" in line])
    same(sorted({line["principal"] for line in who}), ["ada"], "who called")
    expect(all(line.get("agent") for line in who), "a line does not say which client called for her")
    return seen["protocol"] or ""


def stepped_up(site, dancer: Dancer, mode: str) -> str:
    """While it is connected, an operator comes to want another scope of everybody: 403, and the client asks its user for that too,
    and goes on."""
    site.gateway.asks_for("growing", ["mcp"])
    with Walk(dancer, mode, site.gateway.url("growing"), GREET) as walk:
        first = walk.seen()
        same((first["text"], first["scope"], first["visits"]), ("Hello, Ada!", "mcp", 1), "the first call")
        site.gateway.asks_for("growing", ["mcp", "mcp:admin"])
        walk.tell("go on")
        second = walk.seen()
    same((second["text"], second["visits"]), ("Hello, Ada!", 2), "the second call")
    same(sorted(second["scope"].split()), ["mcp", "mcp:admin"], "scope of its token")
    return second["scope"]


def stepped_up_for_a_tool(site, dancer: Dancer, mode: str) -> str:
    """A rule asks for a scope of its own: the tool is listed, its call gets 403, and is made again when the user has agreed."""
    with Walk(dancer, mode, site.gateway.url(), ("delete_note", {"id": "todo"})) as walk:
        first = walk.seen()
        same((first["text"], first["scope"], first["visits"]), ("Hello, Ada!", "mcp", 1), "the first call")
        walk.tell("go on")
        second = walk.seen()
    expect("note `todo`" in second["text"], f"the second call: {second['text']}")  # deleted, or was before
    same(second["visits"], 2, "how often its user was asked")
    same(sorted(second["scope"].split()), ["mcp", "mcp:admin"], "scope of its token")
    return second["scope"]


def without_documents(site) -> str:
    before = len(site.provider.answered())
    with Walk(OF_2025_03_26, "legacy", site.gateway.url()) as walk:
        seen = walk.seen()
    same((seen["text"], seen["protocol"]), ("Hello, Ada!", "2025-03-26"), "what it got, and the revision")
    steps = asked(site, before)
    expect(any(one["path"] == "/.well-known/oauth-authorization-server" for one in steps), "it was not led to the provider")
    same([one["query"].get("resource") for one in steps if one["path"] == "/auth"], [None], "resources that it names")
    return seen["protocol"]


def checks():
    """Name -> what to do with a site."""
    for dancer in DANCERS:
        for mode in dancer.modes:
            yield f"{dancer.name} {mode}", lambda site, dancer=dancer, mode=mode: danced(site, dancer, mode)
    for dancer in DANCERS:
        if dancer.steps_up:
            mode = [*dancer.modes][0]
            yield f"{dancer.name} {mode}, steps up for a tool", lambda site, dancer=dancer, mode=mode: stepped_up_for_a_tool(site, dancer, mode)
            yield f"{dancer.name} {mode}, steps up when an operator wants it", lambda site, dancer=dancer, mode=mode: stepped_up(site, dancer, mode)
    yield f"{OF_2025_03_26.name}, by the fallback of 2025-03-26", without_documents
