#!/usr/bin/env python3
"""The official conformance suite, run against fixtures alone and against Strait in front of them.

    tests/peers/conformance.py [--full] [--strait PATH] [--only WORD] [--keep]

The suite's exit code is not enough: against a closed port it still passes some checks. So what counts is that Strait fails
nothing and passes as many checks as the fixture does by itself. `--full` also crosses the eras and writes
docs/CONFORMANCE.md, with everything that failed. Standard library only; `install` comes first.
"""

import argparse
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

from run import CACHE, HERE, LEGACY, MODERN, NODE, NPM, PYTHON, ROOT, Tally, expect, free_port, stop, wait_for

SUITE = NPM / "node_modules/@modelcontextprotocol/conformance/dist/index.js"


@dataclasses.dataclass(frozen=True)
class Fixture:
    name: str
    command: list[str]
    revisions: list[str]  # what it speaks by itself


FIXTURES = [
    Fixture("Python mcp", [PYTHON, str(HERE / "fixtures/python_dual.py")], [LEGACY, MODERN]),
    Fixture("TypeScript sdk", ["node", str(NPM / "fixtures/ts_legacy.mjs")], [LEGACY]),
    Fixture("TypeScript server", ["node", str(NPM / "fixtures/ts_modern.mjs")], [MODERN]),
]


# ------------------------------------------------------------------------------------------------------------- processes


class Running:
    """A child that listens on a port of its own."""

    def __init__(self, command: list[str], port: int, home: pathlib.Path, name: str):
        self.port = port
        self.log = home / f"{name}.log"
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(command, cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(f"{name} on its port", 30, self.listens)

    def listens(self) -> bool:
        expect(self.child.poll() is None, f"it ended with {self.child.returncode}:\n{self.tail()}")
        return subprocess.run(["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{self.port}"], capture_output=True).returncode == 0

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-1500:]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        stop(self.child)


def start_fixture(fixture: Fixture, home: pathlib.Path) -> Running:
    port = free_port()
    return Running([*fixture.command, str(port)], port, home, "fixture")


def start_strait(strait: str, upstream: str, home: pathlib.Path) -> Running:
    port = free_port()
    (home / "strait.yaml").write_text(json.dumps({
        "strait": 1,
        "listeners": {"main": {"bind": f"127.0.0.1:{port}"}},
        "admin": {"bind": f"127.0.0.1:{free_port()}"},
        "upstreams": {"fixture": {"http": upstream}},
        "servers": {"default": {"path": "/mcp", "tools": ["*"], "prompts": ["*"], "resources": ["*"]}},
        "policy": {"default": "deny", "rules": [{"id": "all", "allow": ["*"]}]},
    }))
    return Running([strait, "up", "strait.yaml", "--state", "state", "--workers", "2"], port, home, "strait")


# ----------------------------------------------------------------------------------------------------------------- suite


@dataclasses.dataclass
class Outcome:
    passed: int = 0
    skipped: int = 0
    failures: dict[str, list[str]] = dataclasses.field(default_factory=dict)  # scenario -> what failed, with the suite's reason
    warnings: dict[str, list[str]] = dataclasses.field(default_factory=dict)

    @property
    def failed(self) -> int:
        return sum(map(len, self.failures.values()))

    def add(self, other: "Outcome") -> "Outcome":
        return Outcome(self.passed + other.passed, self.skipped + other.skipped, {**self.failures, **other.failures},
                       {**self.warnings, **other.warnings})


def suite(side: str, options: list[str], home: pathlib.Path) -> Outcome:
    """One run of the suite against a server or a client; what it found is read from the files it writes for each scenario."""
    results = pathlib.Path(tempfile.mkdtemp(dir=home, prefix="results-"))
    command = ["node", str(SUITE), side, "--output-dir", str(results), *options]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
    (results / "output.txt").write_text(done.stdout + done.stderr)
    outcome = Outcome()
    for file in sorted(results.glob("*/checks.json")):
        scenario = file.parent.name.removeprefix("server-" if side == "server" else "").rsplit("-", 6)[0]
        for check in json.loads(file.read_text()):
            words = f"{check['id']}: {check.get('errorMessage', '')}"
            if check["status"] == "SUCCESS":
                outcome.passed += 1
            elif check["status"] == "SKIPPED":
                outcome.skipped += 1
            elif check["status"] == "FAILURE":
                outcome.failures.setdefault(scenario, []).append(words)
            elif check["status"] == "WARNING":
                outcome.warnings.setdefault(scenario, []).append(words)
    # A scenario that threw or ran out of time has no file: only the suite's own words tell of it.
    for scenario in re.findall(r"^(?:Failed to run scenario|✗) ([a-z0-9-]+):", done.stdout + done.stderr, re.MULTILINE):
        outcome.failures.setdefault(scenario, ["it did not end"])
    if "CLIENT TIMED OUT" in done.stderr:
        outcome.failures.setdefault(options[options.index("--scenario") + 1], ["the client did not end"])
    expect(outcome.passed + outcome.failed > 0, f"the suite ran nothing: exit {done.returncode}, {results}\n{done.stderr[-1500:]}")
    expect(done.returncode != 0 or outcome.failed == 0, f"exit 0 with {outcome.failed} failed checks: {results}")
    expect(done.returncode == 0 or outcome.failed + len(outcome.warnings) > 0, f"exit {done.returncode}, but nothing failed: {results}")
    return outcome


# ------------------------------------------------------------------------------------------------------------------ legs


@dataclasses.dataclass(frozen=True)
class Leg:
    """One run of the suite against Strait in front of a fixture."""

    fixture: Fixture
    revision: str  # of the suite, and so of the client
    scenarios: tuple[str, ...] = ()  # with --force, one by one; all of the revision when empty

    @property
    def native(self) -> bool:
        return self.revision in self.fixture.revisions and not self.scenarios

    def run(self, url: str, home: pathlib.Path) -> Outcome:
        common = ["--url", url, "--spec-version", self.revision]
        if not self.scenarios:
            return suite("server", [*common, "--suite", "all"], home)
        outcome = Outcome()
        for scenario in self.scenarios:
            outcome = outcome.add(suite("server", [*common, "--scenario", scenario, "--force"], home))
        return outcome


NATIVE = [Leg(fixture, revision) for fixture in FIXTURES for revision in fixture.revisions]
CROSSED = [Leg(fixture, revision) for fixture in FIXTURES for revision in (LEGACY, MODERN) if revision not in fixture.revisions]


# The client leg: the suite's mock server is Strait's upstream, and the official Python client stands in front of Strait.
CLIENT_SCENARIOS = ["initialize", "tools_call", "elicitation-sep1034-client-defaults", "sse-retry", "request-metadata",
                    "sep-2322-client-request-state", "http-standard-headers", "http-custom-headers", "http-invalid-tool-headers",
                    "json-schema-ref-no-deref", "json-schema-2020-12-preservation"]


def client_leg(strait: str, mode: str, scenario: str, home: pathlib.Path) -> Outcome:
    command = f"{PYTHON} {HERE / 'clients/conformance_client.py'} {strait} {mode}"
    return suite("client", ["--command", command, "--scenario", scenario], home)


def judge(through: Outcome, alone: Outcome | None, may_skip: bool) -> str:
    """`may_skip`: a check that Strait gives no occasion for counts as passed. A mock server sees Strait's own questions, not all of
    its client's; a suite in front of Strait must see what it sees of the fixture."""
    words = f"{through.passed}/{through.failed}" + (f", alone {alone.passed}/{alone.failed}" if alone else "")
    failures = "\n      ".join(f"{scenario}: {reason}" for scenario, reasons in through.failures.items() for reason in reasons)
    expect(not failures, f"{words}\n      {failures}")
    if alone:
        expect(alone.failed == 0, f"it fails without Strait: {json.dumps(alone.failures)[:700]}")
        enough = through.passed + (through.skipped if may_skip else 0) >= alone.passed
        expect(enough, f"{words}, {through.skipped} skipped: {json.dumps(through.warnings)[:1500]}")
    return words


def write_table(seen: dict[str, tuple[Outcome, Outcome | None]]):
    """docs/CONFORMANCE.md: what was seen, whether good or bad."""
    rows = [f"| {name} | {through.passed} | {through.failed} | {f'{alone.passed} / {alone.failed}' if alone else '-'} |"
            for name, (through, alone) in seen.items()]
    failures = [f"- {name}, `{scenario}`: {reason[:240]}" for name, (through, _) in seen.items()
                for scenario, reasons in through.failures.items() for reason in dict.fromkeys(reasons)]
    (ROOT / "docs/CONFORMANCE.md").write_text(f"""# Conformance

What the official suite, npm `@modelcontextprotocol/conformance`, finds of Strait. Written by
`tests/peers/conformance.py --full`; not by hand. A server leg runs the suite against Strait in front of a fixture
(`tests/peers/fixtures`) that the suite also judges alone. The 2026-07-28 suite in front of the TypeScript sdk and the
2025-11-25 suite in front of the TypeScript server cross the eras. A client leg puts Strait between the suite's mock
server and the official Python client, which speaks the newest revision (auto) or 2025-11-25 (legacy).

| leg | passed | failed | passed / failed without Strait |
|---|---|---|---|
{chr(10).join(rows)}

## What fails

{chr(10).join(failures) or "Nothing."}
""")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--full", action="store_true", help="also across the eras; writes docs/CONFORMANCE.md")
    options.add_argument("--strait", default=str(ROOT / "target/release/strait"), help="the binary to try")
    options.add_argument("--only", default="", help="only legs whose name contains this")
    options.add_argument("--keep", action="store_true", help="leave the work folder, with the suite's results")
    chosen = options.parse_args()
    expect((CACHE / "stamp").exists(), "tests/peers/install has not run")
    os.environ["PATH"] = f"{NODE}:{os.environ['PATH']}"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `finally` ends what was started
    (NPM / "fixtures").mkdir(exist_ok=True)  # an ES module finds packages only in the folders above it
    for part in [*(HERE / "fixtures").glob("*.mjs"), HERE / "fixtures/everything.json"]:
        shutil.copy(part, NPM / "fixtures")

    tally, work, strait = Tally(), pathlib.Path(tempfile.mkdtemp(prefix="strait-conformance-")), os.path.abspath(chosen.strait)
    seen: dict[str, tuple[Outcome, Outcome | None]] = {}

    def check(name: str, alone, through, may_skip: bool = False):
        def compare() -> str:
            seen[name] = through(), alone and alone()
            return judge(*seen[name], may_skip)
        tally.check(name, compare)

    for leg in NATIVE + (CROSSED if chosen.full else []):
        name = f"{leg.revision} suite, {leg.fixture.name}"
        if chosen.only in name:
            home = pathlib.Path(tempfile.mkdtemp(dir=work, prefix="leg-"))
            with start_fixture(leg.fixture, home) as fixture, start_strait(strait, fixture.url, home) as running:
                check(name, leg.native and (lambda: leg.run(fixture.url, home)), lambda: leg.run(running.url, home))
    for scenario in CLIENT_SCENARIOS:
        if chosen.only in (name := f"client leg, {scenario}"):
            for mode in ("auto", "legacy"):
                check(f"{name}, {mode}", lambda: client_leg("none", "auto", scenario, work),
                      lambda: client_leg(strait, mode, scenario, work), may_skip=True)
    if chosen.full and not chosen.only:
        write_table(seen)
    if chosen.keep or tally.failed:
        print(f"logs are in {work}")
    else:
        shutil.rmtree(work)
    for name in tally.failed:
        print(f"failed: {name}")
    print(f"{tally.passed} passed, {len(tally.failed)} failed")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
