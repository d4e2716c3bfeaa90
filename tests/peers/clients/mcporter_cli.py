"""`mcporter`, one process a call, as people use it in scripts; it has no words for prompts and resources. A plan comes on stdin, one
JSON line of facts goes to stdout. Which revision it speaks it does not say, and HTTP+SSE only where Streamable HTTP is refused."""

import json
import os
import re
import subprocess
import sys

plan = json.load(sys.stdin)
program = os.path.join(os.environ["PEERS_NPM"], "node_modules/mcporter/dist/cli.js")


def ask(verb: str, *more: str) -> dict:
    server = ["--http-url", plan["url"] + ("/sse" if plan["mode"] == "sse" else ""), "--allow-http", "--name", "strait", "--header", f"Authorization=Bearer {plan['key']}", "--no-oauth"]
    done = subprocess.run(["node", program, verb, *server, *more], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    try:
        return json.loads(done.stdout)
    except ValueError:
        sys.exit(f"mcporter {verb}: exit {done.returncode}: {done.stdout}{done.stderr}")


def call(name: str, args: dict) -> dict:
    answer = ask("call", "--tool", name, "--args", json.dumps(args), "--output", "json")
    if isinstance(answer, dict) and "error" in answer:
        code, message = re.fullmatch(r"MCP error (-?\d+): (.*)", answer["error"], re.DOTALL).groups()
        return {"code": int(code), "message": message}
    # It shows what it takes for the best of a result: structured content, or a text that is JSON, or the whole.
    if not isinstance(answer, dict) or "content" not in answer:
        return {"failed": False, "json": answer}
    if isinstance(answer["content"], str):
        return {"failed": False, "text": answer["content"]}
    return {"failed": answer.get("isError") is True, "text": "\n".join(c["text"] for c in answer["content"] if c["type"] == "text")}


tools = ask("list", "--json", "--schema")["tools"]
print(json.dumps({"protocol": None, "tools": tools, "calls": [call(c["name"], c["args"]) for c in plan["calls"]]}))
