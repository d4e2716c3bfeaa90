#!/usr/bin/env python3
"""The alerts and dashboards of `deploy/` in a real Prometheus that scrapes a real gateway.

    tests/dashboards/run.py [--strait PATH]

A gateway over `strait echo` and a stdio sample answers calls, refusals and faults of an upstream. Then every expression of every rule
and panel must be accepted, every figure it names must be one that the gateway shows, and every panel that has something to show must
show it. `promtool` reads the rules and their own tests. Standard library only; needs Debian's `prometheus`.
"""

import argparse
import json
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/peers"))

from processes import free_port, listens, stop, wait_for  # noqa: E402

DEPLOY = ROOT / "deploy"
KEY_WORDS = {"sum", "rate", "by", "le", "increase", "ignoring", "group_left", "on", "group_right", "and", "histogram_quantile"}
# Nothing of the kind happens here: their expressions are accepted, and give nothing.
QUIET = {"Shadow"}


def call(url: str, tool: str) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {"text": "x"}, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "dashboards", "version": "1"}}}}
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2026-07-28",
               "Mcp-Method": "tools/call", "Mcp-Name": tool}
    try:
        urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=20).read()
    except urllib.error.HTTPError as error:
        error.read()


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read().decode()


def expressions() -> list[tuple[str, str]]:
    """Title and expression, of panels and alerts; a panel's variables as Grafana would fill them in."""
    found = []
    for path in sorted((DEPLOY / "grafana").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                filled = target["expr"].replace("$__rate_interval", "10s").replace("$instance", ".*")
                found.append((f"{path.name}: {panel['title']}", filled))
    text = (DEPLOY / "prometheus/alerts.yaml").read_text()
    for block in text.split("- alert: ")[1:]:
        name = block.split("\n", 1)[0]
        expr = re.search(r"expr: (?:\|\n((?: {10,}.*\n)+)|(.*)\n)", block)
        found.append((f"alert: {name}", expr.group(1) or expr.group(2)))
    return found


def figures(expression: str) -> set[str]:
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"", "", expression)
    bare = re.sub(r"\b(by|ignoring|on) ?\([^)]*\)", "", bare)
    return {name for name in re.findall(r"[a-z_]{2,}", bare) if name not in KEY_WORDS}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--strait", default=str(ROOT / "target/release/strait"))
    strait = str(pathlib.Path(parser.parse_args().strait).resolve())
    passed, failed = 0, 0

    def tell(name: str, why: str | None) -> None:
        nonlocal passed, failed
        passed, failed = passed + (why is None), failed + (why is not None)
        if why is not None:
            print(f"FAIL {name}: {why}")

    rules = DEPLOY / "prometheus"
    for name, what in [("rules", ["check", "rules", "alerts.yaml"]), ("rules' tests", ["test", "rules", "alerts_test.yaml"])]:
        ran = subprocess.run(["promtool", *what], cwd=rules, capture_output=True, text=True)
        tell(name, None if ran.returncode == 0 else ran.stdout + ran.stderr)

    children = []
    with tempfile.TemporaryDirectory() as folder:
        home = pathlib.Path(folder)
        try:
            echo_port, port, admin, web = (free_port() for _ in range(4))
            children.append(subprocess.Popen([strait, "echo", "--bind", f"127.0.0.1:{echo_port}"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
            (home / "strait.yaml").write_text(json.dumps({
                "strait": 1,
                "listeners": {"main": {"bind": f"127.0.0.1:{port}"}},
                "admin": {"bind": f"127.0.0.1:{admin}"},
                "upstreams": {"echo": {"http": f"http://127.0.0.1:{echo_port}/mcp"}, "hello": {"sample": "stdio"}},
                "servers": {"default": {"path": "/mcp", "tools": ["*"]}},
                "policy": {"default": "deny", "rules": [{"id": "all", "allow": ["*"]}, {"id": "no", "deny": ["hello.delete_*"]}]},
                "limits": [{"per": ["principal"], "rate": "1000/s"}],
                # Nobody is there: their figures are shown all the same.
                "audit": {"path": "./audit", "ship": [{"id": "relay", "syslog": "tcp://127.0.0.1:1"}], "anchors": ["stdout"]},
                "telemetry": {"otlp": {"endpoint": "http://127.0.0.1:1", "every": "1s"}},
                "secrets": {"crm": {"vault": {"address": "http://127.0.0.1:1", "path": "kv/data/crm", "field": "token", "token": "${env:HOME}"}}},
            }))
            wait_for("strait echo", 30, lambda: listens(echo_port))
            subprocess.run([strait, "lock", "strait.yaml"], cwd=home, check=True, capture_output=True, timeout=60)
            with open(home / "log", "wb") as log:
                children.append(subprocess.Popen([strait, "up", "strait.yaml", "--state", "state"], cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
            (home / "prometheus.yaml").write_text(json.dumps({
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(rules / "alerts.yaml")],
                "scrape_configs": [{"job_name": "strait", "static_configs": [{"targets": [f"127.0.0.1:{admin}"]}]}],
            }))
            with open(home / "prometheus.log", "wb") as log:
                children.append(subprocess.Popen(
                    ["prometheus", "--config.file", "prometheus.yaml", "--storage.tsdb.path", "data", "--web.listen-address", f"127.0.0.1:{web}"],
                    cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
            for name, at in [("the gateway", port), ("its admin endpoints", admin), ("Prometheus", web)]:
                wait_for(name, 30, lambda at=at: listens(at))
            url, prometheus = f"http://127.0.0.1:{port}/mcp", f"http://127.0.0.1:{web}"

            def ask(expression: str) -> dict:
                query = urllib.parse.urlencode({"query": expression})
                try:
                    return json.loads(get(f"{prometheus}/api/v1/query?{query}"))
                except urllib.error.HTTPError as error:
                    return json.loads(error.read())

            def drive() -> None:
                for tool in ["echo__echo", "hello__greet", "hello__delete_note", "nobody__knows"]:
                    call(url, tool)

            def scraped(what: str) -> bool:
                drive()
                return bool(ask(what).get("data", {}).get("result"))

            def ready() -> bool:
                """Of both upstreams; until the gateway is open the answer is 503, with the same document."""
                try:
                    said = get(f"http://127.0.0.1:{admin}/readyz")
                except urllib.error.HTTPError as error:
                    said = error.read()
                return all(upstream["state"] == "ready" for upstream in json.loads(said)["upstreams"] or [{"state": "none yet"}])

            wait_for("both upstreams", 30, ready)
            wait_for("rates of calls", 60, lambda: scraped('sum(rate(strait_upstream_calls_total[10s])) > 0'))
            stop(children[0], signal.SIGKILL)  # one fault of an upstream, and more
            wait_for("rates of faults", 60, lambda: scraped('sum(rate(strait_upstream_errors_total[10s])) > 0'))
            shown = set(re.findall(r"^([a-z_]+)(?:\{| )", get(f"http://127.0.0.1:{admin}/metrics"), re.M)) | {"up"}
            for title, expression in expressions():
                unknown = {name for name in figures(expression) if name not in shown}
                said = ask(expression)
                is_quiet = title.startswith("alert: ") or title.split(": ")[1] in QUIET
                if unknown:
                    tell(title, f"names what the gateway does not show: {', '.join(sorted(unknown))}")
                elif said["status"] != "success":
                    tell(title, said.get("error", "no answer"))
                else:
                    tell(title, None if is_quiet or said["data"]["result"] else f"shows nothing: {expression}")
            rules_said = json.loads(get(f"{prometheus}/api/v1/rules"))["data"]["groups"][0]["rules"]
            sick = [f"{rule['name']}: {rule['lastError']}" for rule in rules_said if rule["health"] == "err"]
            tell("rules in Prometheus", None if not sick else "; ".join(sick))
        finally:
            for child in reversed(children):
                stop(child, signal.SIGTERM)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
