"""The MCP Inspector's command line, one process a method, as people use it in scripts. A plan comes on stdin, one JSON line
of facts goes to stdout. It lists the tools before each call and refuses an unlisted one by itself."""

import json
import os
import subprocess
import sys

plan = json.load(sys.stdin)
over_sse = [f"{plan['url']}/sse", "--transport", "sse", "--protocol-era", "legacy"]
where = over_sse if plan["mode"] == "sse" else [plan["url"], "--transport", "http", "--protocol-era", plan["mode"]]
launcher = os.path.join(os.environ["PEERS_NPM"], "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js")


def ask(method: str, *more: str) -> dict:
    command = ["node", launcher, "--cli", *where, "--header", f"Authorization: Bearer {plan['key']}",
               "--format", "json", "--quiet", "--method", method, *more]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    try:
        return json.loads(done.stdout or done.stderr)
    except ValueError:
        sys.exit(f"inspector {method}: exit {done.returncode}: {done.stdout}{done.stderr}")


def call(name: str, args: dict) -> dict:
    answer = ask("tools/call", "--tool-name", name, "--tool-args-json", json.dumps(args))
    if "error" in answer:
        return {"code": answer["error"]["code"], "message": answer["error"]["message"]}
    result = answer["result"]
    text = "\n".join(c["text"] for c in result["content"] if c["type"] == "text")
    return {"failed": result.get("isError") is True, "text": text}


def must(method: str, *more: str) -> dict:
    answer = ask(method, *more)
    if "error" in answer:
        sys.exit(f"inspector {method}: {json.dumps(answer)}")
    return answer["result"]


seen = {"protocol": must("initialize").get("protocolVersion"), "tools": must("tools/list")["tools"]}
seen["calls"] = [call(c["name"], c["args"]) for c in plan["calls"]]
if plan["prompts"]:
    seen["prompt_names"] = [prompt["name"] for prompt in must("prompts/list")["prompts"]]
words = [["--prompt-name", p["name"], "--prompt-args", *(f"{k}={v}" for k, v in p["args"].items())] for p in plan["prompts"]]
seen["prompts"] = [must("prompts/get", *w)["messages"][0]["content"]["text"] for w in words]
seen["resources"] = [must("resources/read", "--uri", uri)["contents"][0]["text"] for uri in plan["resources"]]
print(json.dumps(seen))
