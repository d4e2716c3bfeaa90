#!/usr/bin/env python3
"""What `strait load --json` prints, held against the schema that `strait schema load-result` prints, by PyPI's jsonschema.

    tests/peers/.cache/py-clients/bin/python tests/peers/results.py [--strait PATH]

Runs of every kind against `strait echo`: open and closed, streams, thinking, cancelling, failing, aborted, self-saturated, steady. And a result
with a name taken away, a figure of another kind, or a verdict that there is not must be refused, or the schema says nothing.
"""

import argparse
import copy
import json
import pathlib
import subprocess
import sys

import jsonschema

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SLOW = ["--latency", "fixed:20ms"]
RUNS = [  # options of the server, of the run
    ([], ["--rate", "200", "--requests", "50"]),
    ([], ["--rate", "100", "--duration", "300ms", "--arrivals", "poisson", "--warmup", "3", "--assert", "p99<1m"]),
    ([], ["--ramp", "50..200", "--duration", "500ms"]),
    ([], ["--steps", "50,200", "--duration", "500ms"]),
    ([], ["--closed", "--requests", "2000", "--mix", "tools/call=3,tools/list=1", "--warmup", "100ms"]),
    ([], ["--closed", "--think", "exp:5ms", "--requests", "50"]),
    ([], ["--closed", "--requests", "50", "--era", "legacy", "--cancel", "50%:1ms"]),
    (["--events", "2:1ms"], ["--closed", "--requests", "50", "--progress"]),
    (["--errors", "0.5"], ["--closed", "--requests", "50"]),
    ([], ["--closed", "--requests", "20", "--tool", "nobody"]),
    (SLOW, ["--closed", "--requests", "5000", "--assert", "max<5ms", "--abort-on-fail"]),
    (SLOW, ["--closed", "--requests", "200", "--warmup", "steady:5s"]),
    ([*SLOW, "--workers", "1"], ["--rate", "1000", "--duration", "500ms", "--timeout", "1s"]),
]


def faults(validator, result) -> list[str]:
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(result)]


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--strait", default=str(ROOT / "target/release/strait"))
    strait = options.parse_args().strait
    schema = json.loads(subprocess.run([strait, "schema", "load-result"], check=True, capture_output=True, text=True).stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    failed, result = 0, None
    agents = [subprocess.Popen([strait, "load", "agent", "--bind", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    together = ["--agents", ",".join(agent.stdout.readline().strip() for agent in agents)]
    for server, run in [*RUNS, ([], [*together, "--rate", "400", "--requests", "300"]), ([], [*together, "--closed", "--requests", "300"])]:
        child = subprocess.Popen([strait, "echo", "--bind", "127.0.0.1:0", *server], stdout=subprocess.PIPE, text=True)
        try:
            url = child.stdout.readline().strip()
            ran = subprocess.run([strait, "load", url, *run, "--json"], capture_output=True, text=True)
        finally:
            child.terminate()
            child.wait()
        try:
            result = json.loads(ran.stdout)
            found = faults(validator, result)
        except ValueError as error:
            found = [f"no JSON ({error}): {ran.stderr}"]
        failed += bool(found)
        print("not ok" if found else "ok", " ".join(run), *found, sep="\n    " if found else " ")
    for agent in agents:
        agent.terminate()
        agent.wait()
    for name, value in [("agents", [{}]), ("agents", "two"), ("verdict", "splendid"), ("measured", "many"), ("measured", -1), ("latency_ns", {}), ("url", None), ("loop", "round")]:
        changed = {**copy.deepcopy(result), name: value}
        refused = bool(faults(validator, changed))
        failed += not refused
        print("ok" if refused else "not ok", f"`{name}`: {value!r} is refused")
    for name in result:
        rest = {key: value for key, value in result.items() if key != name}
        if not faults(validator, rest):
            failed += 1
            print("not ok", f"a result without `{name}` is refused")
    print(f"{len(RUNS) + 2} results, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
