"""`mcp-remote-client`, which connects, lists the tools and the resources, and prints what it got. A plan comes on stdin, one JSON line
of facts goes to stdout."""

import json
import os
import re
import subprocess
import sys
import tempfile

plan = json.load(sys.stdin)
program = os.path.join(os.environ["PEERS_NPM"], "node_modules/mcp-remote/dist/client.js")
where = [f"{plan['url']}/sse", "--transport", "sse-only"] if plan["mode"] == "sse" else [plan["url"], "--transport", "http-only"]
# It goes when its stdin ends, so the pipe stays open until it has gone by itself; and it goes without waiting for what a pipe has
# not taken yet, so its words go to a file.
with tempfile.TemporaryFile("w+") as said_to:
    child = subprocess.Popen(["node", program, *where, "--allow-http", "--header", f"Authorization: Bearer {plan['key']}"],
                             stdin=subprocess.PIPE, stdout=said_to, stderr=subprocess.STDOUT)
    try:
        child.wait(60)
    finally:
        child.kill()
        child.stdin.close()
    said_to.seek(0)
    said = said_to.read()
if child.returncode != 0 or "Exiting OK" not in said:
    sys.exit(f"mcp-remote-client: exit {child.returncode}: {said[-1500:]}")
listed = re.search(r"^\[\d+\] Tools: (\{.*?^\})", said, re.MULTILINE | re.DOTALL)
if not listed:
    sys.exit(f"mcp-remote-client shows no tools: {said[-1500:]}")
print(json.dumps({"protocol": None, "tools": json.loads(listed[1])["tools"], "calls": []}))
