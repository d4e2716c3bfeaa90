"""The servers' own words: tools and results learned without Strait, over stdio, in the older era. What a client sees through Strait is
compared with these."""

import json
import os
import select
import signal
import subprocess
import time

from processes import stop, wait_for


class Stdio:
    """One MCP server as a child process; a request waits for its answer."""

    def __init__(self, command: list[str], env: dict[str, str], capabilities: dict):
        self.child = subprocess.Popen(command, env={**os.environ, **env}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.DEVNULL)
        self.pending = b""
        self.last = 0
        self.capabilities = capabilities

    def __enter__(self):
        hello = {"protocolVersion": "2025-11-25", "capabilities": self.capabilities, "clientInfo": {"name": "strait-peers", "version": "1"}}
        try:
            self.ask("initialize", hello)
            self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.child.stdin.close()
        try:
            self.child.wait(5)
        except subprocess.TimeoutExpired:
            stop(self.child, signal.SIGKILL)
        self.child.stdout.close()

    def ask(self, method: str, params: dict | None = None, patience: float = 30) -> dict:
        self.last += 1
        self._send({"jsonrpc": "2.0", "id": self.last, "method": method, "params": params or {}})
        until = time.monotonic() + patience
        while True:
            message = json.loads(self._line(until))
            if message.get("id") == self.last and "method" not in message:
                return message

    def _send(self, message: dict):
        self.child.stdin.write(json.dumps(message).encode() + b"\n")
        self.child.stdin.flush()

    def _line(self, until: float) -> bytes:
        while b"\n" not in self.pending:
            ready, _, _ = select.select([self.child.stdout], [], [], max(0.0, until - time.monotonic()))
            more = os.read(self.child.stdout.fileno(), 65536) if ready else b""
            if not more:
                raise RuntimeError(f"{self.child.args[0]} gave no answer")
            self.pending += more
        line, self.pending = self.pending.split(b"\n", 1)
        return line


def learn(command: list[str], env: dict[str, str], capabilities: dict,
          calls: list[tuple[str, dict]]) -> tuple[list[dict], list[str], list[dict]]:
    """The tools that a server has for a client with these capabilities, the names of its prompts, and its answers to `calls` in the
    form the client drivers print them."""
    with Stdio(command, env, capabilities) as server:
        # server-everything registers more tools when it has seen `initialized`: ask until two lists agree.
        tools: list[dict] = []

        def settled() -> bool:
            nonlocal tools
            before, tools = tools, server.ask("tools/list")["result"]["tools"]
            return tools == before

        wait_for("two lists of tools that agree", 30, settled)
        prompts = server.ask("prompts/list").get("result", {}).get("prompts", [])  # an error where there are none
        names = [prompt["name"] for prompt in prompts]
        return tools, names, [in_short(server.ask("tools/call", {"name": name, "arguments": args})) for name, args in calls]


def in_short(answer: dict) -> dict:
    if "error" in answer:
        return {"code": answer["error"]["code"], "message": answer["error"]["message"]}
    result = answer["result"]
    text = "\n".join(part["text"] for part in result["content"] if part["type"] == "text")
    return {"failed": result.get("isError") is True, "text": text}
