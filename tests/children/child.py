"""An MCP server on stdin and stdout that does what its callers ask of it: `arguments.do` of `tools/call`.

Usage: child.py modern|legacy [flag file]. While the flag file exists it exits with code 7 at once.
"""

import json
import os
import signal
import sys

ERA = sys.argv[1]
if len(sys.argv) > 2 and os.path.exists(sys.argv[2]):
    sys.exit(7)

held = []
waiting = []
cancelled = []
asked = {}


def say(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def text(id, text):
    result = {"content": [{"type": "text", "text": text}]}
    if ERA == "modern":
        result["resultType"] = "complete"
    say({"id": id, "result": result})


def hold(message, count):
    """Gathers calls; hands them out, last one first, when there are enough."""
    held.append(message)
    if len(held) < count:
        return []
    out = held[::-1]
    held.clear()
    return out


def token(message):
    return message["params"].get("_meta", {}).get("progressToken")


def fds():
    out = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            os.readlink("/proc/self/fd/" + fd)
            out.append(int(fd))
        except OSError:
            pass  # that of the listing itself
    return sorted(out)


def call(message):
    id, arguments = message["id"], message["params"]["arguments"]
    do = arguments.get("do")
    if do == "noise":
        for line in ["starting up ...", "", "{broken", "[1]", '"text"', '{"jsonrpc":"2.0"}', "\u00e9\u0007\r"]:
            sys.stdout.write(line + "\n")
        text(id, "after the noise")
        print("goodbye")
        sys.stdout.flush()
    elif do == "pid":
        text(id, str(os.getpid()))
    elif do == "exit":
        os._exit(3)
    elif do == "half":
        sys.stdout.write('{"jsonrpc":"2.0","id":%d,"result":{' % id)
        sys.stdout.flush()
        os._exit(4)
    elif do == "never":
        waiting.append(id)
    elif do == "wrong id":
        for wrong in [id + 1000000, str(id), None, -id]:
            text(wrong, "not yours")
    elif do == "twice":
        text(id, "first")
        text(id, "second")
    elif do == "reverse":
        for other in hold(message, arguments["count"]):
            text(other["id"], json.dumps(other["params"]["arguments"]))
    elif do == "large":
        text(id, "x" * arguments["bytes"])
    elif do == "ask":
        asked[id] = {}
        say({"id": "ping-1", "method": "ping"})
        say({"id": 77, "method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}})
    elif do == "progress":
        calls = hold(message, 2)
        for step in range(3):
            for other in calls:
                progress = {"progressToken": token(other), "progress": step, "message": other["params"]["arguments"]["who"]}
                say({"method": "notifications/progress", "params": progress})
        for other in calls:
            text(other["id"], other["params"]["arguments"]["who"])
    elif do == "unasked progress":
        say({"method": "notifications/progress", "params": {"progressToken": id, "progress": 1}})
        text(id, "done")
    elif do == "seen":
        text(id, json.dumps({"waiting": waiting, "cancelled": cancelled}))
    elif do == "fds":
        text(id, json.dumps(fds()))
    elif do == "variable":
        text(id, str(os.environ.get(arguments["name"])))
    elif do == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        text(id, str(os.getpid()))
        while True:
            signal.pause()
    elif do == "leave a grandchild":
        grandchild = os.fork()
        if grandchild == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                signal.pause()
        text(id, str(grandchild))
    else:
        text(id, json.dumps(arguments))


def answer_to_us(message):
    for id, answers in list(asked.items()):
        answers[str(message["id"])] = message
        if len(answers) == 2:
            del asked[id]
            text(id, json.dumps(answers))


def request(message):
    id, method = message["id"], message["method"]
    if method == "server/discover" and ERA == "modern":
        say({"id": id, "result": {
            "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
            "ttlMs": 0, "cacheScope": "public"}})
    elif method == "initialize" and ERA == "legacy":
        say({"id": id, "result": {
            "protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
            "serverInfo": {"name": "child", "version": "1"}}})
    elif method == "tools/list":
        result = {"tools": [{"name": "do", "description": "d", "inputSchema": {"type": "object"}}]}
        if ERA == "modern":
            result |= {"resultType": "complete", "ttlMs": 0, "cacheScope": "public"}
        say({"id": id, "result": result})
    elif method == "tools/call":
        call(message)
    else:
        say({"id": id, "error": {"code": -32601, "message": "Method not found"}})


for line in sys.stdin:
    message = json.loads(line)
    if "method" not in message:
        answer_to_us(message)
    elif "id" in message:
        request(message)
    elif message["method"] == "notifications/cancelled":
        cancelled.append(message["params"]["requestId"])
