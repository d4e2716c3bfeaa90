#!/usr/bin/env python3
"""Real MCP clients call real MCP servers through Strait, and what they see is compared with the servers' own words.

    tests/peers/run.py [--full] [--strait PATH] [--only WORD] [--keep]

Every client, in each era it can speak, lists the tools and calls some of every server, with a key that may everything and
with one that may little, through a gateway of two workers: as it comes, with every request forced onto the wrong worker,
and on epoll. Standard library only; `install` has put the packages into .cache. Read on at `main`.
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import direct
import processes
from processes import free_port, listens, stop, wait_for

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = HERE / ".cache"
NPM = CACHE / "npm"
SERVERS = NPM / "node_modules" / "@modelcontextprotocol"
NODE = NPM / "node_modules" / f"node-linux-{ {'x86_64': 'x64', 'aarch64': 'arm64'}[os.uname().machine] }" / "bin"
MODERN, LEGACY = "2026-07-28", "2025-11-25"

# ---------------------------------------------------------------------------------------------------------------- plan


@dataclasses.dataclass(frozen=True)
class Client:
    name: str
    command: list[str]
    modes: dict[str, str | None]  # how the client is told to negotiate -> the revision that must come of it, if it says
    asks_for_hidden: bool = True  # does it send a call of a tool that it was not shown?
    can: tuple[str, ...] = ("call", "read")  # call tools; read resources and get prompts


PYTHON = str(CACHE / "py-clients" / "bin" / "python")
CLIENTS = [
    Client("mcp (Python)", [PYTHON, str(HERE / "clients/mcp_python.py")], {"auto": MODERN, "legacy": LEGACY, "sse": LEGACY}),
    Client("fastmcp", [PYTHON, str(HERE / "clients/fastmcp_python.py")], {"auto": MODERN, "legacy": LEGACY, "sse": LEGACY}),
    Client("client (TypeScript)", ["node", str(NPM / "ts_client.mjs")], {"auto": MODERN, "legacy": LEGACY, "sse": LEGACY}),
    Client("sdk (TypeScript)", ["node", str(NPM / "ts_sdk.mjs")], {"legacy": LEGACY, "sse": LEGACY}),
    Client("inspector", [sys.executable, str(HERE / "clients/inspector_cli.py")], {"auto": MODERN, "legacy": LEGACY, "sse": LEGACY}, asks_for_hidden=False),
    Client("@ai-sdk/mcp", ["node", str(NPM / "ai_sdk.mjs")], {"auto": MODERN, "legacy": LEGACY, "sse": LEGACY}),
    Client("langchain", [str(CACHE / "py-langchain/bin/python"), str(HERE / "clients/langchain_adapters.py")], {"legacy": LEGACY, "sse": LEGACY},
           asks_for_hidden=False),
    Client("mcporter", [sys.executable, str(HERE / "clients/mcporter_cli.py")], {"legacy": None, "sse": None}, can=("call",)),
    Client("mcp-remote-client", [sys.executable, str(HERE / "clients/mcp_remote_client.py")], {"legacy": None, "sse": None}, can=()),
]


@dataclasses.dataclass(frozen=True)
class Gateway:
    name: str
    verb: str  # `up CONFIG`, or `compile CONFIG` and `serve TABLE`
    options: list[str]
    clients: list[str]  # starts of client names; all when empty


GATEWAYS = [
    Gateway("two workers", "up", ["--workers", "2"], []),
    Gateway("wrong worker", "serve", ["--workers", "2", "--force-wrong-worker"], ["mcp (", "fastmcp", "client", "sdk", "@ai-sdk"]),
    Gateway("epoll", "up", ["--workers", "2", "--driver", "epoll"], ["mcp (", "sdk"]),
]
FULL_GATEWAYS = GATEWAYS[:1] + [
    Gateway("wrong worker", "serve", ["--workers", "2", "--force-wrong-worker"], []),
    Gateway("epoll", "serve", ["--workers", "2", "--driver", "epoll"], []),
    Gateway("epoll, wrong worker", "up", ["--workers", "2", "--driver", "epoll", "--force-wrong-worker"], []),
    Gateway("one worker", "up", ["--workers", "1"], []),
]

LONG = "long line, " * 9000  # about 100 kB: more than a buffer, less than one argument of a command line may be
CALLS = [  # upstream, tool, arguments, what its answer must contain (it must also equal the server's own answer)
    ("git", "git_status", {"repo_path": "{work}/repo"}, "On branch main"),
    ("git", "git_log", {"repo_path": "{work}/repo", "max_count": 1}, "first words"),
    ("time", "convert_time", {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}, "+9.0h"),
    ("fs", "read_text_file", {"path": "{work}/files/small.txt"}, "hello from a file"),
    ("fs", "read_text_file", {"path": "{work}/files/large.txt"}, "line 29999"),
    ("fs", "read_text_file", {"path": "/etc/hostname"}, "outside allowed directories"),  # refused by the server: a result
    ("memory", "open_nodes", {"names": ["Strait"]}, "a narrow way between two seas"),
    ("everything", "echo", {"message": "Grüße, 海峡 \u2028 🌊 \"\\"}, "Grüße, 海峡 \u2028 🌊 \"\\"),
    ("everything", "get-structured-content", {"location": "Chicago"}, "temperature"),
    ("everything_http", "get-sum", {"a": 5, "b": 7}, "12"),
    ("everything_http", "echo", {"message": LONG}, LONG),
    ("everything_http", "trigger-long-running-operation", {"duration": 0.2, "steps": 2}, "completed"),
    ("everything_sse", "echo", {"message": LONG}, LONG),
]
# What Strait declares when it asks for lists: all, but of a child that its clients share nothing.
QUESTIONS = {"sampling": {"context": {}, "tools": {}}, "elicitation": {"form": {}, "url": {}}, "roots": {}}
PROMPTS = [("everything", "args-prompt", {"city": "Oslo"}, "What's weather in Oslo?"),
           ("everything_http", "args-prompt", {"city": "Lima"}, "What's weather in Lima?")]
RESOURCES = [("memory://knowledge-graph", "a narrow way between two seas")]
SMALL = {"time": None, "fs": {"read_text_file"}}  # what gateway.yaml's role `small` may call; None: every tool
HIDDEN = ["git__git_status", "fs__write_file", "everything_http__echo", "no_such__tool"]


# --------------------------------------------------------------------------------------------------------------- parts


class Tally:
    """Counts checks and prints each as it is done."""

    def __init__(self):
        self.passed, self.failed = 0, []

    def check(self, name: str, done) -> bool:
        """`done` is a function that returns words for the table, or raises."""
        began = time.monotonic()
        try:
            words = done() or ""
            self.passed += 1
            print(f"ok    {name:<58} {words:<24} {time.monotonic() - began:5.1f} s", flush=True)
            return True
        except Exception as error:  # a check may fail in any way; the run goes on and says so
            self.failed.append(name)
            print(f"FAIL  {name}\n      {type(error).__name__}: {str(error)[:2000]}", flush=True)
            return False

    def end(self, work: pathlib.Path, keep: bool) -> int:
        """The last lines of a run, and its exit code."""
        if keep or self.failed:
            print(f"logs are in {work}")
        else:
            shutil.rmtree(work)
        for name in self.failed:
            print(f"failed: {name}")
        print(f"{self.passed} passed, {len(self.failed)} failed")
        return 1 if self.failed else 0


def expect(fact: object, words: str):
    if not fact:
        raise AssertionError(words)


def same(seen: object, wanted: object, what: str):
    if seen != wanted:
        raise AssertionError(f"{what}: seen {json.dumps(seen)[:700]}, wanted {json.dumps(wanted)[:700]}")


def stat(pid: int) -> tuple[str, int, int] | None:
    """State, parent and start time of a process."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0], int(fields[1]), int(fields[19])


def descendants(root: int) -> dict[int, tuple[str, int, int]]:
    every = {int(entry.name): s for entry in pathlib.Path("/proc").iterdir() if entry.name.isdigit() and (s := stat(int(entry.name)))}
    found, edge = {}, {root}
    while edge:
        edge = {pid for pid, s in every.items() if s[1] in edge and pid not in found}
        found |= {pid: every[pid] for pid in edge}
    return found


def still_there(before: dict[int, tuple[str, int, int]]) -> list[int]:
    return [pid for pid, was in before.items() if (now := stat(pid)) and now[2] == was[2]]


def post(url: str, key: str | None, method: str, params: dict) -> tuple[int, dict | str]:
    """One request of the modern revision, by hand."""
    meta = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}
    body = json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": {**params, "_meta": meta}}).encode()
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
               "MCP-Protocol-Version": MODERN, "Mcp-Method": method}
    if "name" in params:
        headers["Mcp-Name"] = params["name"]
    if key:
        headers["Authorization"] = f"Bearer {key}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30) as answer:
            status, kind, text = answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        status, kind, text = error.code, error.headers.get("Content-Type", ""), error.read().decode()
    if kind.startswith("text/event-stream"):
        text = [line[5:] for line in text.splitlines() if line.startswith("data:")][-1]
    try:
        return status, json.loads(text)
    except ValueError:
        return status, text


# ------------------------------------------------------------------------------------------------------------- servers


@dataclasses.dataclass
class Known:
    """What the servers say when nothing stands between."""

    tools: dict[str, dict[str, dict]]  # upstream -> tool -> its definition
    prompts: list[str]  # their exposed names where several servers are joined
    answers: list[dict]  # one for each of CALLS


def prepare(work: pathlib.Path):
    (work / "files").mkdir()
    (work / "files/small.txt").write_text("hello from a file\n")
    (work / "files/large.txt").write_text("".join(f"line {n}\n" for n in range(30000)))
    entity = {"type": "entity", "name": "Strait", "entityType": "word", "observations": ["a narrow way between two seas"]}
    (work / "memory.jsonl").write_text(json.dumps(entity) + "\n")
    git = ["git", "-C", str(work / "repo"), "-c", "user.name=Peers", "-c", "user.email=peers@localhost"]
    for command in (["git", "init", "--quiet", "--initial-branch=main", str(work / "repo")],
                    [*git, "commit", "--quiet", "--allow-empty", "--message", "first words"]):
        done = processes.run(command, 60)
        expect(done.status == 0, f"{' '.join(command)}: {done.err}")


def learn(work: pathlib.Path) -> Known:
    everything = ["node", str(SERVERS / "server-everything/dist/index.js"), "stdio"]
    servers = {
        "git": ([str(CACHE / "py-servers/bin/mcp-server-git"), "--repository", str(work / "repo")], {}),
        "time": ([str(CACHE / "py-servers/bin/mcp-server-time"), "--local-timezone", "UTC"], {}),
        "fs": (["node", str(SERVERS / "server-filesystem/dist/index.js"), str(work / "files")], {}),
        "memory": (["node", str(SERVERS / "server-memory/dist/index.js")], {"MEMORY_FILE_PATH": str(work / "memory.jsonl")}),
        "everything": (everything, {}),
        "everything_http": (everything, {}, QUESTIONS),
        "everything_sse": (everything, {}, QUESTIONS),
        "fetch": ([str(CACHE / "py-servers/bin/mcp-server-fetch")], {}),
    }
    tools, prompts, answers = {}, [], [{}] * len(CALLS)
    for upstream, (command, env, *asked) in servers.items():
        mine = [n for n, call in enumerate(CALLS) if call[0] == upstream]
        listed, prompted, said = direct.learn(command, env, asked[0] if asked else {}, [(CALLS[n][1], arguments(CALLS[n], work)) for n in mine])
        tools[upstream] = {tool["name"]: tool for tool in listed}
        prompts += [f"{upstream}__{name}" for name in prompted]
        for n, answer in zip(mine, said):
            expect(CALLS[n][3] in answer.get("text", ""), f"{upstream} itself answers {CALLS[n][1]} with {json.dumps(answer)[:300]}")
            answers[n] = answer
    return Known(tools, prompts, answers)


def arguments(call: tuple, work: pathlib.Path) -> dict:
    return {name: value.replace("{work}", str(work)) if isinstance(value, str) else value for name, value in call[2].items()}


def everything_over(transport: str, work: pathlib.Path) -> tuple[subprocess.Popen, int]:
    port = free_port()
    with open(work / f"everything_{transport}.log", "ab") as log:
        child = subprocess.Popen(["node", str(SERVERS / "server-everything/dist/index.js"), transport],
                                 env={**os.environ, "PORT": str(port)}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def open_now():
        expect(child.poll() is None, "server-everything ended at once")
        return listens(port)

    try:
        wait_for(f"server-everything {transport}", 20, open_now)
    except BaseException:
        stop(child, signal.SIGKILL)
        raise
    return child, port


# ------------------------------------------------------------------------------------------------------------- gateway


class Running:
    """A Strait that serves gateway.yaml out of its own folder."""

    def __init__(self, strait: str, gateway: Gateway, work: pathlib.Path, ports: dict[str, int]):
        self.strait, self.gateway = strait, gateway
        self.home = pathlib.Path(tempfile.mkdtemp(dir=work, prefix="gateway-"))
        self.port, self.admin = free_port(), free_port()
        self.env = {**os.environ, "PEERS_CACHE": str(CACHE), "PEERS_WORK": str(work), "PEERS_PORT": str(self.port),
                    "PEERS_ADMIN_PORT": str(self.admin), "PEERS_EVERYTHING_PORT": str(ports["streamableHttp"]),
                    "PEERS_EVERYTHING_SSE_PORT": str(ports["sse"]), "PEERS_HIDDEN": "not for children"}
        shutil.copy(HERE / "gateway.yaml", self.home)
        self.keys = {name: self.new_key(name) for name in ("full", "small")}
        self.log = open(self.home / "strait.log", "ab")
        source = self.home / "gateway.yaml"
        if gateway.verb == "serve":
            self.run("compile", str(source), "-o", str(self.home / "gateway.table"))
            source = self.home / "gateway.table"
        command = [strait, gateway.verb, str(source), "--state", str(self.home / "state"), *gateway.options]
        self.process = subprocess.Popen(command, cwd=self.home, env=self.env, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def run(self, *words: str) -> str:
        done = processes.run([self.strait, *words], 60, cwd=self.home, env=self.env)
        expect(done.status == 0, f"strait {' '.join(words)}: exit {done.status}\n{done.out}{done.err}")
        return done.out

    def new_key(self, name: str) -> str:
        key = self.run("keys", "new", "keys.yaml", "--id", name, "--groups", name, "--quiet").splitlines()[-1]
        expect(key.startswith("sk-strait-"), f"strait keys new prints {key[:12]}")
        expect(key not in (self.home / "keys.yaml").read_text(), "keys.yaml holds the key itself")
        return key

    def url(self, server: str) -> str:
        return f"http://127.0.0.1:{self.port}{'/solo/mcp' if server == 'solo' else '/mcp'}"

    def ready(self, tools: int):
        """It opens after a while with what it has learned; here it is wanted with everything."""
        def answers():
            expect(self.process.poll() is None, f"strait ended with {self.process.returncode}:\n{self.tail()}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/readyz", timeout=5) as answer:
                    return answer.status == 200
            except OSError:
                return False

        def complete():
            status, answer = post(self.url("default"), self.keys["full"], "tools/list", {})
            expect(status == 200, f"tools/list: {status} {answer}")
            return len(answer["result"]["tools"]) == tools

        try:
            wait_for("/readyz with 200", 30, answers)
            wait_for(f"a list of {tools} tools", 60, complete)
        except TimeoutError as late:
            raise TimeoutError(f"{late}:\n{self.tail()}") from None

    def tail(self) -> str:
        return (self.home / "strait.log").read_text(errors="replace")[-1500:]

    def close(self):
        stop(self.process, signal.SIGKILL)
        self.log.close()

    def access(self) -> list[dict]:
        return [json.loads(line) for line in (self.home / "access.log").read_text().splitlines()]


# -------------------------------------------------------------------------------------------------------------- checks


@dataclasses.dataclass
class Trial:
    """One client in one mode with one key at one endpoint: what it does, and what it must have seen."""

    client: Client
    mode: str
    key: str
    server: str  # of gateway.yaml: default or solo
    work: pathlib.Path
    known: Known

    def reaches(self, upstream: str, tool: str) -> bool:
        if self.server == "solo" and upstream != "time":
            return False
        return self.key == "full" or (upstream in SMALL and (SMALL[upstream] is None or tool in SMALL[upstream]))

    def sees_all(self) -> bool:
        return self.key == "full" and self.server == "default"

    def reads(self) -> bool:
        return self.sees_all() and "read" in self.client.can

    def name(self, upstream: str, tool: str) -> str:
        return tool if self.server == "solo" else f"{upstream}__{tool}"

    def shown(self) -> dict[str, dict]:
        every = ((upstream, tool) for upstream, tools in self.known.tools.items() for tool in tools.values())
        return {self.name(upstream, tool["name"]): tool for upstream, tool in every if self.reaches(upstream, tool["name"])}

    def calls(self) -> list[tuple[dict, dict, tuple]]:
        """What is sent, the answer that must come, and the entry of CALLS it was made from."""
        if "call" not in self.client.can:
            return []
        mine = [({"name": self.name(*call[:2]), "args": arguments(call, self.work)}, answer, call)
                for call, answer in zip(CALLS, self.known.answers) if self.reaches(*call[:2])]
        if self.key == "small" or self.server == "solo":
            for name in HIDDEN:
                refused = {"code": -32602, "message": f"Unknown tool: {name}"}
                mine.append(({"name": name, "args": {}}, refused if self.client.asks_for_hidden else {"code": "tool_not_found"}, ()))
        return mine

    def run(self, running: Running) -> str:
        plan = {"url": running.url(self.server), "key": running.keys[self.key], "mode": self.mode,
                "calls": [sent for sent, _, _ in self.calls()], "prompts": [], "resources": []}
        if self.reads():
            plan["prompts"] = [{"name": self.name(upstream, prompt), "args": args} for upstream, prompt, args, _ in PROMPTS]
            plan["resources"] = [uri for uri, _ in RESOURCES]
        env = {**os.environ, "HOME": str(self.work), "PEERS_NPM": str(NPM)}  # the Inspector writes into HOME
        done = processes.run(self.client.command, 180, json.dumps(plan).encode(), env=env)
        expect(done.status == 0, f"exit {done.status}: {done.err[-1800:]}")
        facts = json.loads(done.out)
        same(facts["protocol"], self.client.modes[self.mode], "revision")
        shown = self.shown()
        same(sorted(tool["name"] for tool in facts["tools"]), sorted(shown), "names of tools")
        for tool in facts["tools"]:
            for part in ("description", "inputSchema"):
                same(tool.get(part), shown[tool["name"]].get(part), f"{tool['name']}.{part}")
        for (sent, wanted, _), seen in zip(self.calls(), facts["calls"], strict=True):
            if "json" in seen:  # the client shows a text that is JSON as JSON
                same(seen, {"failed": wanted["failed"], "json": json.loads(wanted["text"])}, sent["name"])
            elif "code" in wanted:
                same(seen.get("code"), wanted["code"], f"{sent['name']}: code of {json.dumps(seen)[:300]}")
                expect(wanted.get("message", "") in seen["message"], f"{sent['name']}: {seen['message']}")
            else:
                same(seen, wanted, sent["name"])
        if self.reads():
            same(sorted(facts["prompt_names"]), sorted(self.known.prompts), "names of prompts")
            same(facts["prompts"], [words for *_, words in PROMPTS], "prompts")
            for (uri, words), text in zip(RESOURCES, facts["resources"], strict=True):
                expect(words in text, f"{uri}: {text[:300]}")
        return f"{facts['protocol']} {len(shown):>3} tools"


def strangers_are_refused(running: Running):
    for key in (None, "sk-strait-nobody", running.keys["full"][:-1]):
        status, _ = post(running.url("default"), key, "tools/list", {})
        same(status, 401, "status for no or a wrong key")


def child_environment_is_clean(running: Running):
    _, answer = post(running.url("default"), running.keys["full"], "tools/call", {"name": "everything__get-env", "arguments": {}})
    seen = json.loads(answer["result"]["content"][0]["text"])
    same(seen.get("PEERS_GIVEN"), "to the child", "PEERS_GIVEN")
    stray = sorted(set(seen) - {"PATH", "HOME", "LANG", "TMPDIR", "USER", "PEERS_GIVEN"})
    same(stray, [], "variables that the config does not give to the child")


def killed_child_comes_back(running: Running):
    ours = descendants(running.process.pid)
    victims = [pid for pid in ours if "mcp-server-time" in pathlib.Path(f"/proc/{pid}/cmdline").read_text()]
    same(len(victims), 1, "children that run mcp-server-time")
    os.kill(victims[0], signal.SIGKILL)

    def answers_again():
        call = {"name": "convert_time", "arguments": CALLS[2][2]}
        status, answer = post(running.url("solo"), running.keys["small"], "tools/call", call)
        expect(isinstance(answer, dict) and ("result" in answer or "error" in answer), f"{status} {answer}")
        return "result" in answer

    wait_for("an answer of the restarted child", 30, answers_again)
    expect(not still_there({victims[0]: ours[victims[0]]}), "the killed child is a zombie")


def access_log_tells_all(running: Running, made: list[Trial]):
    """One line for each call that was sent: who, at which server, which tool of which upstream, and what became of it."""
    wanted = collections.Counter()
    for trial in made:
        for _, answer, call in trial.calls():
            if "code" not in answer:
                wanted[trial.key, trial.server, *call[:2], "permit"] += 1
            elif trial.client.asks_for_hidden:
                wanted[trial.key, trial.server, "refused"] += 1

    def seen() -> collections.Counter:
        return collections.Counter(
            (line["principal"], line["server"], "refused") if "refused" in line else
            (line["principal"], line["server"], line["upstream"], line["tool"], line["verdict"])
            for line in running.access() if line.get("method") == "tools/call" and "principal" in line)

    try:
        wait_for("the last line", 5, lambda: seen() == wanted)
    except TimeoutError:
        different = [(call, seen()[call], wanted[call]) for call in seen().keys() | wanted.keys() if seen()[call] != wanted[call]]
        raise AssertionError(f"calls with their lines seen and wanted: {different[:8]}") from None
    generations = {line["generation"] for line in running.access()}
    expect(all(len(generation) == 12 for generation in generations), f"generations {generations}")
    expect(all(line["ns"]["total"] > 0 for line in running.access()), "a line without its time")
    return f"{sum(wanted.values())} calls"


def figures_agree(running: Running):
    """An independent parser reads `/metrics`, and what it reads is what the access log tells."""
    def scrape() -> dict:
        url = f"http://127.0.0.1:{running.admin}/metrics"
        done = processes.run([PYTHON, str(HERE / "clients/scrape.py"), url], 30)
        expect(done.status == 0, f"the scrape does not parse: {done.err[-2000:]}")
        return json.loads(done.out)

    first = scrape()
    # Refusals that nobody's body was read for have no method in either.
    lines = [line for line in running.access() if line.get("method") == "tools/call"]
    wanted = collections.Counter("refused" if "refused" in line else "answered" for line in lines)
    calls = {outcome: count for (name, labels, count) in first["samples"] if name == "strait_requests_total"
             for outcome in [labels["outcome"]] if labels["method"] == "tools_call"}
    same(calls["ok"] + calls["error"], wanted["answered"], "calls answered")
    same(sum(calls.values()), wanted.total(), "calls")
    second = scrape()
    before = {(name, json.dumps(labels, sort_keys=True)): value for name, labels, value in first["samples"]}
    for name, labels, value in second["samples"]:
        if first["kinds"].get(name.removesuffix("_total")) == "counter" or name.endswith(("_bucket", "_count")):
            expect(value >= before.get((name, json.dumps(labels, sort_keys=True)), 0), f"{name}{labels} fell to {value}")
    return f"{len(first['samples'])} series"


def other_worker_owns(running: Running):
    """Forced, the first worker accepts every connection and the second owns every session. What a modern client asks is told where
    it arrives, unless the client can be asked something: then it is told where its calls would wait."""
    by = {method: {line["worker"] for line in running.access() if line.get("method") == method} for method in ("initialize", "server/discover")}
    same(by["initialize"], {1}, "workers of sessions")
    expect(0 in by["server/discover"], "no client of 2026-07-28 is answered where it arrives")


def stdio_front(strait: str) -> str:
    done = processes.run([PYTHON, str(HERE / "stdio_front.py"), strait], 300)
    expect(done.status == 0, done.out + done.err[-1500:])
    return f"{len(done.out.splitlines())} ways"


def ends_cleanly(running: Running):
    before = descendants(running.process.pid)
    expect(not [pid for pid, s in before.items() if s[0] == "Z" and s[1] == running.process.pid], "zombies while it runs")
    same(stop(running.process), 0, "exit status after SIGTERM")
    wait_for("the end of every child", 5, lambda: not still_there(before))
    return f"{len(before)} children gone"


def children_follow_a_crash(running: Running):
    before = descendants(running.process.pid)
    stop(running.process, signal.SIGKILL)
    wait_for("the end of every child", 10, lambda: not still_there(before))
    return f"{len(before)} children gone"


def try_gateway(tally: Tally, strait: str, gateway: Gateway, work: pathlib.Path, known: Known, ports: dict[str, int]):
    chosen = [c for c in CLIENTS if not gateway.clients or c.name.startswith(tuple(gateway.clients))]
    trials = [Trial(client, mode, key, server, work, known) for client in chosen for mode in client.modes
              for key, server in (("full", "default"), ("small", "default"), ("full", "solo"))]
    # The Inspector and mcporter are a process per request: nothing of them is at once.
    at_once = [trial for trial in trials if trial.server == "default" and trial.client.name not in ("inspector", "mcporter")]
    started: list[Running] = []

    def start() -> Running:
        started.append(Running(strait, gateway, work, ports))
        started[-1].ready(sum(map(len, known.tools.values())))
        return started[-1]

    def all_at_once(running: Running):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda trial: trial.run(running), at_once))
        return f"{len(at_once)} clients"

    def check(what: str, done):
        return tally.check(f"{gateway.name}: {what}", done)

    try:
        if not check(f"starts ({gateway.verb})", lambda: start() and ""):
            return
        running = started[0]
        check("no key, no entry", lambda: strangers_are_refused(running))
        for trial in trials:
            check(f"{trial.client.name} {trial.mode}, {trial.key} at {trial.server}", lambda: trial.run(running))
        check("all clients at once", lambda: all_at_once(running))
        check("the access log tells of every call", lambda: access_log_tells_all(running, trials + at_once))
        check("/metrics parses and agrees with the access log", lambda: figures_agree(running))
        if "--force-wrong-worker" in gateway.options:
            check("the other worker owns the sessions", lambda: other_worker_owns(running))
        check("a child's environment is clean", lambda: child_environment_is_clean(running))
        check("a killed child comes back", lambda: killed_child_comes_back(running))
        check("SIGTERM ends it and its children", lambda: ends_cleanly(running))
        check("its children do not outlive a crash", lambda: children_follow_a_crash(start()))
    finally:
        for running in started:
            running.close()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--full", action="store_true", help="every client on every gateway, and more gateways")
    options.add_argument("--strait", default=str(ROOT / "target/release/strait"), help="the binary to try")
    options.add_argument("--only", default="", help="only gateways whose name contains this; `strait stdio` counts as one")
    options.add_argument("--keep", action="store_true", help="leave the work folder, with its logs")
    chosen = options.parse_args()
    expect((CACHE / "stamp").exists(), "tests/peers/install has not run")
    for driver in (HERE / "clients").glob("*.mjs"):
        shutil.copy(driver, NPM)  # an ES module finds packages only beside itself

    os.environ["PATH"] = f"{NODE}:{os.environ['PATH']}"  # one node for all, whatever the machine has

    processes.bound(150 if chosen.full else 30)
    tally = Tally()
    work = pathlib.Path(tempfile.mkdtemp(prefix="strait-peers-"))
    prepare(work)
    known = learn(work)
    print("      " + ", ".join(f"{upstream} {len(tools)}" for upstream, tools in known.tools.items()) + " tools by their own word", flush=True)
    servers = {transport: everything_over(transport, work) for transport in ("streamableHttp", "sse")}
    ports = {transport: port for transport, (_, port) in servers.items()}
    try:
        for gateway in FULL_GATEWAYS if chosen.full else GATEWAYS:
            if chosen.only in gateway.name:
                try_gateway(tally, os.path.abspath(chosen.strait), gateway, work, known, ports)
        if chosen.only in "strait stdio":
            tally.check("strait stdio: mcp (Python) starts it, with a config and with a URL", lambda: stdio_front(os.path.abspath(chosen.strait)))
    finally:
        for server, _ in servers.values():
            stop(server)
    return tally.end(work, chosen.keep)


if __name__ == "__main__":
    sys.exit(main())
