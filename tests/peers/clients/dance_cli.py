"""Command lines that walk the dance by themselves and tell their user which page to open: the Inspector, `mcporter`, `mcp-remote-client`.
They have nothing but a URL; the page is opened here. A plan comes on stdin, one JSON line of facts goes to stdout."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../fixtures"))
from browser import Callback, visit  # noqa: E402

plan = json.loads(sys.stdin.readline())
packages = os.path.join(os.environ["PEERS_NPM"], "node_modules")
with Callback() as free:  # a port that nobody else has at this moment
    callback = free.url
greet = json.dumps({"name": "Ada"})
COMMANDS = {
    "inspector": [f"{packages}/@modelcontextprotocol/inspector/clients/launcher/build/index.js", "--cli", plan["url"], "--transport", "http",
                  "--protocol-era", plan["mode"], "--callback-url", callback, "--format", "json",
                  "--method", "tools/call", "--tool-name", "greet", "--tool-args-json", greet],
    "mcporter": [f"{packages}/mcporter/dist/cli.js", "call", "--http-url", plan["url"], "--allow-http", "--name", "strait",
                 "--tool", "greet", "--args", greet, "--output", "json"],
    "mcp-remote-client": [f"{packages}/mcp-remote/dist/client.js", plan["url"], "--transport", "http-only", "--allow-http"],
}
# Each keeps what it gets in HOME, and opens the page as well, by $BROWSER. Whether it may, the Inspector asks a terminal or a variable.
with tempfile.TemporaryDirectory() as home, tempfile.TemporaryFile("w+") as said_to:
    env = {**os.environ, "HOME": home, "MCP_AUTO_OPEN_ENABLED": "true", "MCP_INSPECTOR_SECRET_STORE": "memory", "BROWSER": "/bin/true"}
    # `mcp-remote-client` goes when its stdin ends.
    child = subprocess.Popen(["node", *COMMANDS[plan["client"]]], stdin=subprocess.PIPE, stdout=said_to, stderr=subprocess.STDOUT, env=env)

    def said() -> str:
        said_to.seek(0)
        return said_to.read()

    visits, until = [], time.monotonic() + 120
    try:
        while child.poll() is None and time.monotonic() < until:
            page = re.search(r"http://127\.0\.0\.1:\d+/auth\?\S+(?=\s)", said())
            if page and not visits:
                visits.append(page[0])
                visit(page[0])
            time.sleep(0.05)
    finally:
        child.kill()
        child.stdin.close()
    if child.wait() != 0:
        sys.exit(f"{plan['client']}: exit {child.returncode}: {said()[-1500:]}")
    text = "Hello, Ada!" if "Hello, Ada!" in said() else "listed" if '"greet"' in said() else said()[-500:]
print(json.dumps({"protocol": None, "text": text, "scope": None, "visits": len(visits)}))
