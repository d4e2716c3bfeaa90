#!/usr/bin/env python3
"""What Strait tells of itself, told to programs of other makers: the OTLP receiver `oteltap`, and Debian's Prometheus.

    tests/peers/telemetry.py [--strait PATH]

A gateway over `strait echo` with every exchange traced: `oteltap` must read the spans of a call, in the trace that its client began, and
the figures; it goes away for a while and comes back, and what was called meanwhile must arrive. Prometheus must take the
OpenMetrics text, keep the exemplars in it, and give back the trace's id. Standard library only; `install` comes first.
"""

import argparse
import contextlib
import json
import pathlib
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request

from envoy import running
from processes import free_port, stop, wait_for
from run import CACHE, ROOT, Tally, expect

OTELTAP = CACHE / "py-collectors" / "bin" / "oteltap"
MODERN = "2026-07-28"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def call(port: int, trace: str | None = None) -> None:
    meta = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}
    if trace:
        meta["traceparent"] = f"00-{trace}-00f067aa0ba902b7-01"
    body = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "kanarie"}, "_meta": meta}}
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": MODERN,
               "Mcp-Method": "tools/call", "Mcp-Name": "echo"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/mcp", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        answer.read()


def get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:  # a gateway that is not open yet says so
        return error.read().decode()


@contextlib.contextmanager
def receiver(home: pathlib.Path, port: int, name: str):
    """`oteltap`, writing a line of JSON for each span and figure."""
    with running([str(OTELTAP), "--port", str(port)], home, name, port):
        yield home / name


def heard(path: pathlib.Path) -> str:
    return path.read_text(errors="replace")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--strait", default=str(ROOT / "target/release/strait"))
    strait = str(pathlib.Path(parser.parse_args().strait).resolve())
    tally = Tally()
    home = pathlib.Path(tempfile.mkdtemp())
    with contextlib.ExitStack() as stack:
        echo, port, admin, otlp, web = (free_port() for _ in range(5))
        (home / "strait.yaml").write_text(json.dumps({
            "strait": 1,
            "listeners": {"main": {"bind": f"127.0.0.1:{port}"}},
            "admin": {"bind": f"127.0.0.1:{admin}"},
            "telemetry": {"otlp": {"endpoint": f"http://127.0.0.1:{otlp}", "every": "1s"}, "traces": {"sample": 1}},
            "upstreams": {"up": {"http": f"http://127.0.0.1:{echo}/mcp"}},
            "servers": {"default": {"path": "/mcp", "tools": ["*"]}},
            "policy": {"default": "deny", "rules": [{"id": "all", "allow": ["*"]}]},
        }))
        (home / "prometheus.yaml").write_text(json.dumps({
            "global": {"scrape_interval": "1s"},
            "scrape_configs": [{"job_name": "strait", "static_configs": [{"targets": [f"127.0.0.1:{admin}"]}]}],
        }))
        stack.enter_context(running([strait, "echo", "--bind", f"127.0.0.1:{echo}"], home, "echo.log", echo))

        def up(signal: str) -> str | None:
            text = get(f"http://127.0.0.1:{admin}/metrics")
            found = [line for line in text.splitlines() if line.startswith(f'strait_telemetry_collector_up{{signal="{signal}"}}')]
            return found[0].rsplit(" ", 1)[1] if found else None

        with receiver(home, otlp, "first.ndjson") as first:
            stack.enter_context(running([strait, "serve", "strait.yaml", "--state", "state"], home, "strait.log", port))
            wait_for("the upstream", 30, lambda: '"state":"ready"' in get(f"http://127.0.0.1:{admin}/readyz").replace(" ", ""))

            def spans_of_a_call():
                call(port, TRACE)
                wait_for("a span of the call", 20, lambda: "tools/call echo" in heard(first) and "strait.phase" in heard(first))
                text = heard(first)
                for word in ["mcp.method.name", "gen_ai.tool.name", "execute_tool", "strait.generation", "jsonrpc.request.id"]:
                    expect(word in text, f"no {word} in what the receiver read: {text[-2000:]}")
                expect("kanarie" not in text, "an argument is in a span")

            def figures():
                wait_for("figures", 20, lambda: "strait_requests_total" in heard(first) and "strait_request_duration_seconds" in heard(first))
                wait_for("both signals to be taken", 20, lambda: (up("traces"), up("metrics")) == ("1", "1"))

            tally.check("spans of a call", spans_of_a_call)
            tally.check("figures", figures)

        def away():
            before = heard(first).count('tools/call echo')
            expect(before > 0, "nothing before")
            for _ in range(5):
                call(port)
            wait_for("the collector to be missed", 30, lambda: up("traces") == "0")
            log = (home / "strait.log").read_text()
            expect(log.count("takes no traces now") == 1, f"told once: {log}")
            with receiver(home, otlp, "second.ndjson") as second:
                # Each call has two spans of that name: its own, and the asking of its upstream.
                wait_for("what was called meanwhile", 90, lambda: heard(second).count("execute_tool") >= 10)
                wait_for("the collector to be back", 30, lambda: up("traces") == "1")

        tally.check("a collector that is away for a while loses nothing", away)
        command = ["prometheus", "--config.file", "prometheus.yaml", "--storage.tsdb.path", "data", "--web.listen-address", f"127.0.0.1:{web}",
                   "--enable-feature=exemplar-storage"]
        stack.enter_context(running(command, home, "prometheus.log", web))

        wait_for("Prometheus", 60, lambda: "is Ready" in get(f"http://127.0.0.1:{web}/-/ready"))

        def exemplars():
            query = urllib.parse.urlencode({"query": "strait_request_duration_seconds_bucket", "start": 0, "end": 4102444800})

            def kept():
                call(port, TRACE)
                said = json.loads(get(f"http://127.0.0.1:{web}/api/v1/query_exemplars?{query}"))
                return any(one["labels"].get("trace_id") == TRACE for of in said["data"] for one in of["exemplars"])

            wait_for("an exemplar in Prometheus", 60, kept, every=0.5)
            targets = json.loads(get(f"http://127.0.0.1:{web}/api/v1/targets"))["data"]["activeTargets"]
            expect(targets[0]["health"] == "up", f"the scrape: {targets[0]}")

        tally.check("exemplars in Prometheus", exemplars)
    return tally.end(home, False)


if __name__ == "__main__":
    sys.exit(main())
