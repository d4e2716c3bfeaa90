#!/usr/bin/env python3
"""The audit log, sent to programs of other makers: the OTLP receiver `oteltap`, and a webhook that PyPI's `standardwebhooks` verifies.

    tests/peers/shipping.py [--strait PATH]

A gateway over `strait echo` with an audit log. Every record must come to both, under one id, and what is signed must verify; `oteltap`
goes away for a while and comes back, and what was called meanwhile must arrive. `install` comes first.
"""

import argparse
import contextlib
import http.server
import json
import pathlib
import subprocess
import sys
import tempfile
import threading

from envoy import running
from processes import free_port, wait_for
from run import CACHE, ROOT, Tally, expect
from telemetry import call, get, heard, receiver

SECRET = "whsec_a2FuYXJpZW52b2dlbC1rYW5hcmllbnZvZ2Vs"
PYTHON = CACHE / "py-collectors" / "bin" / "python"
VERIFY = """
import json, sys
from standardwebhooks.webhooks import Webhook
for line in sys.stdin:
    head, body = json.loads(line)
    try:
        Webhook(sys.argv[1]).verify(body, head)
    except json.JSONDecodeError:
        pass  # a batch is a record a line: it reads the body as one JSON once the signature has proved good
print("verified")
"""


class Hook(http.server.BaseHTTPRequestHandler):
    """Keeps what it is sent."""

    taken: list[tuple[dict, str]] = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        Hook.taken.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def ids_of_hook() -> list[str]:
    return [json.loads(line)["metadata"]["uid"] for _, body in list(Hook.taken) for line in body.splitlines()]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--strait", default=str(ROOT / "target/release/strait"))
    strait = str(pathlib.Path(parser.parse_args().strait).resolve())
    tally = Tally()
    home = pathlib.Path(tempfile.mkdtemp())
    hook = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    with contextlib.ExitStack() as stack:
        echo, port, admin, otlp = (free_port() for _ in range(4))
        (home / "strait.yaml").write_text(json.dumps({
            "strait": 1,
            "listeners": {"main": {"bind": f"127.0.0.1:{port}"}},
            "admin": {"bind": f"127.0.0.1:{admin}"},
            "audit": {"path": "./audit", "checkpoint": "200ms", "ship": [
                {"id": "otel", "otlp": f"http://127.0.0.1:{otlp}"},
                {"id": "hook", "webhook": f"http://127.0.0.1:{hook.server_port}/in", "secret": SECRET, "format": "ocsf"},
            ]},
            "upstreams": {"up": {"http": f"http://127.0.0.1:{echo}/mcp"}},
            "servers": {"default": {"path": "/mcp", "tools": ["*"]}},
            "policy": {"default": "deny", "rules": [{"id": "all", "allow": ["*"]}]},
        }))
        stack.enter_context(running([strait, "echo", "--bind", f"127.0.0.1:{echo}"], home, "echo.log", echo))

        def figure(name: str, collector: str) -> float:
            text = get(f"http://127.0.0.1:{admin}/metrics")
            found = [line for line in text.splitlines() if line.startswith(f'{name}{{collector="{collector}"}}')]
            return float(found[0].rsplit(" ", 1)[1]) if found else -1

        with receiver(home, otlp, "first.ndjson") as first:
            stack.enter_context(running([strait, "serve", "strait.yaml", "--state", "state"], home, "strait.log", port))
            wait_for("the upstream", 30, lambda: '"state":"ready"' in get(f"http://127.0.0.1:{admin}/readyz").replace(" ", ""))

            def records_as_logs():
                call(port)
                wait_for("the call", 30, lambda: "strait.audit.exchange" in heard(first) and "up.echo" in heard(first))
                for word in ["log.record.uid", "strait.audit.index", "strait.audit.verdict"]:
                    expect(word in heard(first), f"no {word} in what the receiver read: {heard(first)[-2000:]}")
                wait_for("it to be told as taken", 20, lambda: figure("strait_audit_ship_up", "otel") == 1)

            tally.check("records as OTLP logs", records_as_logs)

        def away():
            for _ in range(5):
                call(port)
            wait_for("the collector to be missed", 30, lambda: figure("strait_audit_ship_up", "otel") == 0)
            with receiver(home, otlp, "second.ndjson") as second:
                wait_for("what was called meanwhile", 90, lambda: heard(second).count("strait.audit.exchange") >= 5)
                wait_for("nothing to be left", 30, lambda: figure("strait_audit_ship_lag_records", "otel") == 0)
                wait_for("the hook to have it all", 30, lambda: figure("strait_audit_ship_lag_records", "hook") == 0)
                both = heard(first) + heard(second)
                missing = [one for one in ids_of_hook() if one not in both]
                expect(not missing, f"only the hook has {missing}")

        def signed():
            wait_for("batches", 20, lambda: Hook.taken)
            lines = "".join(json.dumps(one) + "\n" for one in list(Hook.taken))
            done = subprocess.run([str(PYTHON), "-c", VERIFY, SECRET], input=lines, capture_output=True, text=True, timeout=60)
            expect(done.stdout.strip() == "verified", f"{done.stdout} {done.stderr}")
            other = SECRET.replace("a2Fu", "b2Fu")
            done = subprocess.run([str(PYTHON), "-c", VERIFY, other], input=lines, capture_output=True, text=True, timeout=60)
            expect("WebhookVerificationError" in done.stderr, "another secret verifies, too")

        tally.check("a collector that is away for a while loses nothing", away)
        tally.check("a webhook's signatures, by standardwebhooks", signed)
    return tally.end(home, False)


if __name__ == "__main__":
    sys.exit(main())
