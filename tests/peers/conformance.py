#!/usr/bin/env python3
"""The official conformance suite, run against fixtures alone and against Strait in front of them.

    tests/peers/conformance.py [--full] [--strait PATH] [--only WORD] [--keep]

The suite's exit code is not enough: against a closed port it still passes some checks. So what counts is that Strait fails and
warns of nothing that the fixture does not, and passes as many checks in every scenario. What cannot be bridged is listed in
known_gaps.json with its reason; what is listed there and passes is a failure too. `--full` also crosses the eras, joins a second
upstream, runs the tasks extension's scenarios, and writes docs/CONFORMANCE.md. Standard library only; `install` comes first.
"""

import argparse
import collections
import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import processes
from processes import free_port, listens, stop, wait_for
from run import CACHE, HERE, LEGACY, MODERN, NODE, NPM, PYTHON, ROOT, Tally, expect

SUITE = NPM / "node_modules/@modelcontextprotocol/conformance/dist/index.js"


@dataclasses.dataclass(frozen=True)
class Fixture:
    name: str
    command: tuple[str, ...]
    revisions: tuple[str, ...]  # what it speaks by itself


FIXTURES = [
    Fixture("Python mcp", (PYTHON, str(HERE / "fixtures/python_dual.py")), (LEGACY, MODERN)),
    Fixture("TypeScript sdk", ("node", str(NPM / "fixtures/ts_legacy.mjs")), (LEGACY,)),
    Fixture("TypeScript server", ("node", str(NPM / "fixtures/ts_modern.mjs")), (MODERN,)),
]


# The extension has scenarios of its own, for a server with other tools.
TASKS = Fixture("tasks extension", (PYTHON, str(HERE / "fixtures/tasks_modern.py")), (MODERN,))
TASK_SCENARIOS = ("tasks-lifecycle", "tasks-capability-negotiation", "tasks-wire-fields", "tasks-request-state-removal", "tasks-mrtr-input",
                  "tasks-request-headers", "tasks-dispatch-and-envelope", "tasks-required-task-error", "tasks-mrtr-composition")


# ------------------------------------------------------------------------------------------------------------- processes


class Running:
    """A child that listens on a port of its own."""

    def __init__(self, command: list[str], port: int, home: pathlib.Path, name: str):
        self.port = port
        self.log = home / f"{name}.log"
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(command, cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_for(f"{name} on its port", 30, self.opened)
        except BaseException:
            stop(self.child, signal.SIGKILL)
            raise

    def opened(self) -> bool:
        expect(self.child.poll() is None, f"it ended with {self.child.returncode}:\n{self.tail()}")
        return listens(self.port)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-1500:]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        stop(self.child)


def put_fixtures():
    """An ES module finds packages only in the folders above it."""
    (NPM / "fixtures").mkdir(exist_ok=True)
    for part in [*(HERE / "fixtures").glob("*.mjs"), HERE / "fixtures/everything.json"]:
        shutil.copy(part, NPM / "fixtures")


def start_fixture(fixture: Fixture, home: pathlib.Path) -> Running:
    port = free_port()
    return Running([*fixture.command, str(port)], port, home, "fixture")


def start_strait(strait: str, upstream: str, home: pathlib.Path, joined: bool = False) -> Running:
    """In front of one upstream, which it changes as little as it can; or `joined` with another one, so that lists are merged,
    cursors are its own, and nothing is transparent. Names stay as they are: the suite asks for them."""
    port = free_port()
    (home / "strait.yaml").write_text(json.dumps({
        "strait": 1,
        "listeners": {"main": {"bind": f"127.0.0.1:{port}"}},
        "admin": {"bind": f"127.0.0.1:{free_port()}"},
        "upstreams": {"fixture": {"http": upstream}, **({"hello": {"sample": "stdio"}} if joined else {})},
        "servers": {"default": {"path": "/mcp", "tools": ["*"], "prompts": ["*"], "resources": ["*"], "naming": "bare"}},
        "policy": {"default": "deny", "rules": [{"id": "all", "allow": ["*"]}]},
    }))
    return Running([strait, "up", "strait.yaml", "--state", "state", "--workers", "2"], port, home, "strait")


# ----------------------------------------------------------------------------------------------------------------- suite


@dataclasses.dataclass
class Scenario:
    passed: int = 0
    skipped: int = 0
    objections: dict[str, str] = dataclasses.field(default_factory=dict)  # check that failed or warned -> the suite's reason
    failed: int = 0

    def add(self, check: dict):
        if check["status"] == "SUCCESS":
            self.passed += 1
        elif check["status"] == "SKIPPED":
            self.skipped += 1
        elif check["status"] in ("FAILURE", "WARNING"):
            self.failed += check["status"] == "FAILURE"
            self.objections[check["id"]] = check.get("errorMessage", "")


class Outcome(collections.defaultdict):
    """Scenario by scenario, what the suite said."""

    def __init__(self):
        super().__init__(Scenario)

    @property
    def passed(self) -> int:
        return sum(scenario.passed for scenario in self.values())

    @property
    def failed(self) -> int:
        return sum(scenario.failed for scenario in self.values())

    def broke(self, name: str, words: str):
        """A scenario that threw or ran out of time tells of it with its own words only."""
        self[name].failed += 1
        self[name].objections["end"] = words


def suite(side: str, options: list[str], home: pathlib.Path) -> Outcome:
    """One run of the suite against a server or a client; what it found is read from the files it writes for each scenario."""
    results = pathlib.Path(tempfile.mkdtemp(dir=home, prefix="results-"))
    command = ["node", str(SUITE), side, "--output-dir", str(results), *options]
    done = processes.run(command, 300, cwd=home)
    (results / "output.txt").write_text(done.out + done.err)
    outcome = Outcome()
    for file in sorted(results.glob("*/checks.json")):
        name = file.parent.name.removeprefix("server-" if side == "server" else "").rsplit("-", 6)[0]
        for check in json.loads(file.read_text()):
            outcome[name].add(check)
    for name in re.findall(r"^(?:Failed to run scenario|✗) ([a-z0-9-]+):", done.out + done.err, re.MULTILINE):
        if not outcome[name].failed:
            outcome.broke(name, "it did not end")
    if "CLIENT TIMED OUT" in done.err:
        outcome.broke(options[options.index("--scenario") + 1], "the client did not end")
    objections = sum(len(scenario.objections) for scenario in outcome.values())
    expect(outcome.passed + outcome.failed > 0, f"the suite ran nothing: exit {done.status}, {results}\n{done.err[-1500:]}")
    expect(done.status != 0 or outcome.failed == 0, f"exit 0 with {outcome.failed} failed checks: {results}")
    expect(done.status == 0 or objections > 0, f"exit {done.status}, but nothing failed: {results}")
    return outcome


# ------------------------------------------------------------------------------------------------------------------ legs


@dataclasses.dataclass(frozen=True)
class Leg:
    """One run of the suite against Strait in front of a fixture."""

    fixture: Fixture
    revision: str  # of the suite, and so of the client
    joined: bool = False
    scenarios: tuple[str, ...] = ()  # these, and not all

    @property
    def name(self) -> str:
        return f"{self.revision} suite, {self.fixture.name}{', joined' if self.joined else ''}"

    def run(self, strait: str, home: pathlib.Path) -> Outcome:
        with start_fixture(self.fixture, home) as fixture, start_strait(strait, fixture.url, home, self.joined) as running:
            return server_suite(running.url, self, home)

    def alone(self, home: pathlib.Path) -> Outcome:
        """The fixture without Strait; of a revision that it does not speak, the one that does: all have the same tools."""
        with start_fixture(self.fixture if self.revision in self.fixture.revisions else FIXTURES[0], home) as fixture:
            return server_suite(fixture.url, self, home)


def server_suite(url: str, leg: Leg, home: pathlib.Path) -> Outcome:
    options = ["--url", url, "--spec-version", leg.revision]
    if not leg.scenarios:
        return suite("server", [*options, "--suite", "all"], home)
    outcome = Outcome()
    for scenario in leg.scenarios:
        outcome |= suite("server", [*options, "--scenario", scenario, "--force"], home)
    return outcome


TASKS_LEG = Leg(TASKS, MODERN, scenarios=TASK_SCENARIOS)
LEGS = [Leg(fixture, revision) for fixture in FIXTURES for revision in (LEGACY, MODERN)]
QUICK = [leg for leg in LEGS if leg.revision in leg.fixture.revisions]
FULL = [*LEGS, TASKS_LEG] + [dataclasses.replace(leg, joined=True) for leg in QUICK]

# The client leg: the suite's mock server is Strait's upstream, and the official Python client stands in front of Strait.
CLIENT_SCENARIOS = ["initialize", "tools_call", "elicitation-sep1034-client-defaults", "sse-retry", "request-metadata",
                    "sep-2322-client-request-state", "http-standard-headers", "http-custom-headers", "http-invalid-tool-headers",
                    "json-schema-ref-no-deref", "json-schema-2020-12-preservation"]


@dataclasses.dataclass(frozen=True)
class ClientLeg:
    scenario: str
    mode: str

    @property
    def name(self) -> str:
        return f"client leg, {self.scenario}, {self.mode}"

    def run(self, strait: str, home: pathlib.Path) -> Outcome:
        command = f"{PYTHON} {HERE / 'clients/conformance_client.py'} {strait} {self.mode}"
        return suite("client", ["--command", command, "--scenario", self.scenario], home)

    def alone(self, home: pathlib.Path) -> Outcome:
        return dataclasses.replace(self, mode="auto").run("none", home)


CLIENT_LEGS = [ClientLeg(scenario, mode) for scenario in CLIENT_SCENARIOS for mode in ("auto", "legacy")]


# ------------------------------------------------------------------------------------------------------------- judgement


@dataclasses.dataclass
class Seen:
    through: Outcome
    alone: Outcome

    def complaints(self, may_skip: bool) -> dict[tuple[str, str], str]:
        """What the suite has against Strait and not against what stands behind it: (scenario, check) -> its words. A scenario in
        which checks are missing counts too: the suite leaves out what it is given no occasion for. `may_skip`: what is
        skipped counts as passed, for a mock server sees Strait's own questions, not all of its client's."""
        found = {}
        for name, alone in self.alone.items():
            through = self.through[name]
            if not through.objections and through.passed + (through.skipped if may_skip else 0) < alone.passed:
                found[name, "count"] = f"{through.passed} checks passed, {alone.passed} without Strait"
        for name, through in self.through.items():
            found |= {(name, check): words for check, words in through.objections.items() if check not in self.alone[name].objections}
        return found


def judge(leg: Leg | ClientLeg, seen: Seen) -> str:
    """Everything must pass but what is known, and what is known must not pass: its line must go then."""
    expect(seen.alone.failed == 0, f"it fails without Strait: { {name: one.objections for name, one in seen.alone.items() if one.failed} }")
    found = seen.complaints(isinstance(leg, ClientLeg))
    known = gaps(leg)
    expect(not (unknown := found.keys() - known), "\n      ".join(f"{name}, {check}: {found[name, check]}" for name, check in sorted(unknown)))
    expect(not (mended := known - found.keys()), f"known_gaps.json lists what works: {sorted(mended)}")
    return f"{seen.through.passed}/{seen.through.failed}, alone {seen.alone.passed}/{seen.alone.failed}" + (f", {len(known)} known" if known else "")


def gaps(leg: Leg | ClientLeg) -> set[tuple[str, str]]:
    return {(gap["scenario"], gap["check"]) for gap in GAPS if leg.name in gap["legs"]}


GAPS = json.loads((HERE / "known_gaps.json").read_text())


def write_table(seen: dict[Leg | ClientLeg, Seen]):
    """docs/CONFORMANCE.md: what was seen, whether good or bad."""
    rows = [f"| {leg.name} | {one.through.passed} | {one.through.failed} | {one.alone.passed} / {one.alone.failed} |" for leg, one in seen.items()]
    reasons = {(name, gap["scenario"], gap["check"]): gap["reason"] for gap in GAPS for name in gap["legs"]}
    rest = collections.defaultdict(list)
    for leg, one in seen.items():
        for (scenario, check), words in one.complaints(isinstance(leg, ClientLeg)).items():
            reason = reasons.get((leg.name, scenario, check), "Not known.")
            rest[f"`{scenario}`, {check}: {' '.join(words.split())[:200]}. {reason}"].append(leg.name)
    lines = [f"- {words} ({'; '.join(legs)})" for words, legs in rest.items()]
    (ROOT / "docs/CONFORMANCE.md").write_text(f"""# Conformance

What the official suite, npm `@modelcontextprotocol/conformance` {version()}, finds of Strait. Written by
`tests/peers/conformance.py --full`; not by hand. A server leg runs the suite against Strait in front of a fixture
(`tests/peers/fixtures`) that the suite also judges alone; a fixture that does not speak the suite's revision is
compared with the Python one, which has the same tools. *Joined*: with a second upstream, so that Strait merges
lists and is not transparent. A client leg puts Strait between the suite's mock server and the official Python client,
which speaks the newest revision (auto) or 2025-11-25 (legacy); the suite skips there what Strait asks by itself.
Its scenarios of authorization are not among them: they judge clients, which walk to a token in `tests/peers/dance.py` instead (`tests/peers/README.md` says why).

| leg | passed | failed | passed / failed without Strait |
|---|---|---|---|
{chr(10).join(rows)}

## What Strait passes less of

Each with the suite's words and the reason (`tests/peers/known_gaps.json`). What cannot be bridged, which the reasons call 5.6, is the last table of `docs/BRIDGES.md`.

{chr(10).join(lines) or "Nothing."}
""")


def version() -> str:
    return json.loads((HERE / "npm/package.json").read_text())["dependencies"]["@modelcontextprotocol/conformance"]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--full", action="store_true", help="also across the eras, and joined; writes docs/CONFORMANCE.md")
    options.add_argument("--strait", default=str(ROOT / "target/release/strait"), help="the binary to try")
    options.add_argument("--only", default="", help="only legs whose name contains this")
    options.add_argument("--keep", action="store_true", help="leave the work folder, with the suite's results")
    chosen = options.parse_args()
    expect((CACHE / "stamp").exists(), "tests/peers/install has not run")
    os.environ["PATH"] = f"{NODE}:{os.environ['PATH']}"
    processes.bound(60 if chosen.full else 20)
    put_fixtures()
    tally, work, strait = Tally(), pathlib.Path(tempfile.mkdtemp(prefix="strait-conformance-")), os.path.abspath(chosen.strait)
    legs = [leg for leg in [*(FULL if chosen.full else QUICK), *CLIENT_LEGS] if chosen.only in leg.name]
    expect({name for gap in GAPS for name in gap["legs"]} <= {leg.name for leg in [*FULL, *CLIENT_LEGS]}, "known_gaps.json names a leg that is none")
    seen: dict[Leg | ClientLeg, Seen] = {}
    alone: dict[tuple[str, str], Outcome] = {}

    def compare(leg: Leg | ClientLeg) -> str:
        home = pathlib.Path(tempfile.mkdtemp(dir=work, prefix="leg-"))
        same_alone = (leg.fixture.name, leg.revision) if isinstance(leg, Leg) else ("client", leg.scenario)
        if same_alone not in alone:
            alone[same_alone] = leg.alone(home)
        seen[leg] = Seen(leg.run(strait, home), alone[same_alone])
        return judge(leg, seen[leg])

    for leg in legs:
        tally.check(leg.name, lambda: compare(leg))
    if chosen.full and not chosen.only:
        write_table(seen)
    return tally.end(work, chosen.keep)


if __name__ == "__main__":
    sys.exit(main())
