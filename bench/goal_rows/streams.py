"""The row about event streams: how much later an event comes through a proxy than straight.

One thread of this program is both ends: it writes an event into the upstream's connection, waits for it at the client's, and so reads
both times from one clock, with nobody to hand over to. An event goes over every arm, in random order, before the next one; what is told
is the median of the differences to the direct one. So the row needs an upstream of its own.
"""

import contextlib
import functools
import http.server
import json
import os
import queue
import socket
import statistics
import threading
import time
import urllib.parse

from side_by_side import gateways
from side_by_side.processes import Broken

from .ground import EVERYTHING, Ground

EVENTS = 400
WARM_UP = 50
# A stream is as slow as those of tools that tell their progress, so that every event meets a gateway that sleeps.
PAUSE_SECONDS = 0.001
TOKEN = "row"


class Upstream(http.server.ThreadingHTTPServer):
    """An MCP server of 2025-11-25 with one tool. A call that asks for progress has its stream opened, and handed over in `opened`."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Asked)
        self.opened: queue.Queue[tuple[socket.socket, str | int, threading.Event]] = queue.Queue()


class Asked(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        params = message.get("params") or {}
        match message.get("method"):
            case "initialize":
                server = {"name": "row", "version": "1"}
                self.answer(message, {"protocolVersion": gateways.REVISION, "capabilities": {"tools": {}}, "serverInfo": server})
            case "tools/list":
                self.answer(message, {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]})
            case "tools/call" if "progressToken" in params.get("_meta", {}):
                self.stream(params["_meta"]["progressToken"])
            case "tools/call":
                self.answer(message, {"content": [{"type": "text", "text": "x"}]})
            case _ if "id" in message:
                self.answer(message, {})
            case _:
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()

    def do_GET(self):
        self.send_error(405)

    do_DELETE = do_GET

    def answer(self, message: dict, result: dict) -> None:
        body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if message["method"] == "initialize":
            self.send_header("Mcp-Session-Id", "row")
        self.end_headers()
        self.wfile.write(body)

    def stream(self, token: str | int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        over = threading.Event()
        self.server.opened.put((self.connection, token, over))
        over.wait()
        self.close_connection = True

    def log_message(self, *_):
        pass


def sse(ground: Ground, number: int, _: set[str]) -> None:
    upstream = Upstream()
    with contextlib.ExitStack() as in_round:
        in_round.callback(os.sched_setaffinity, 0, os.sched_getaffinity(0))
        os.sched_setaffinity(0, {ground.load_core})
        threading.Thread(target=upstream.serve_forever, daemon=True).start()
        in_round.callback(upstream.server_close)
        in_round.callback(upstream.shutdown)
        port = upstream.server_address[1]
        place = lambda name: gateways.Place(port, ground.proxy_core, ground.folder / name, ground.strait, ground.floor)
        starts = {"direct": gateways.direct, "nginx": gateways.nginx("off")}
        starts |= {name: gateways.GATEWAYS[name] for name in ("floor", "strait", EVERYTHING)}
        lines = {}
        for name, start in starts.items():
            gateway = gateways.begin(start, place(f"sse-{name}"), 1, 1, in_round)
            lines[name] = Line(gateway, upstream, in_round)
        delays = {name: [] for name in lines}
        for event in range(WARM_UP + (20 if ground.is_quick else EVENTS)):
            for name in ground.shuffled(list(lines)):
                delay = lines[name].passed(event)
                if event >= WARM_UP:
                    delays[name].append(delay)
            time.sleep(PAUSE_SECONDS)
        for name, through in delays.items():
            added = [one - other for one, other in zip(through, delays["direct"])]
            values = {"event_us": statistics.median(through)}
            if name != "direct":
                values["added_us"] = statistics.median(added)
                values["added_p90_us"] = statistics.quantiles(added, n=10)[8]
            ground.found(number, "sse", name, **values)


class Line:
    """A stream over one arm, both ends of it."""

    def __init__(self, gateway: gateways.Gateway, upstream: Upstream, in_round: contextlib.ExitStack):
        self.name = gateway.name
        parts = urllib.parse.urlsplit(gateway.url)
        self.client = in_round.enter_context(socket.create_connection((parts.hostname, parts.port), timeout=10))
        self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        headers = {"Host": parts.netloc, "Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if gateway.key:
            headers["Authorization"] = f"Bearer {gateway.key}"
        hello = {"protocolVersion": gateways.REVISION, "capabilities": {}, "clientInfo": {"name": "row", "version": "1"}}
        post = functools.partial(self.post, parts.path, headers)
        said = post({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}, until=b"}}")
        for line in said.split(b"\r\n"):
            if line.lower().startswith(b"mcp-session-id:"):
                headers["Mcp-Session-Id"] = line.split(b":")[1].strip().decode()
        headers["MCP-Protocol-Version"] = gateways.REVISION
        post({"jsonrpc": "2.0", "method": "notifications/initialized"}, until=b"\r\n\r\n")
        params = {"name": gateway.tool, "arguments": {"text": "x"}, "_meta": {"progressToken": TOKEN}}
        post({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}, until=None)
        try:
            self.server, self.token, over = upstream.opened.get(timeout=10)
        except queue.Empty:
            raise Broken(f"sse: the call through {self.name} did not come to the upstream within 10 s")
        in_round.callback(over.set)

    def post(self, path: str, headers: dict, message: dict, until: bytes | None) -> bytes:
        body = json.dumps(message).encode()
        head = "".join(f"{name}: {value}\r\n" for name, value in (headers | {"Content-Length": str(len(body))}).items())
        self.client.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        said = b""
        while until and until not in said:
            piece = self.client.recv(65_536)
            if not piece:
                raise Broken(f"sse: {self.name} closed after {said[-200:]!r}")
            said += piece
        return said

    def passed(self, number: int) -> float:
        """Microseconds from before the event is written until the client has all of it."""
        params = {"progressToken": self.token, "progress": number, "message": f"event-{number}-"}
        event = f"event: message\ndata: {json.dumps({'jsonrpc': '2.0', 'method': 'notifications/progress', 'params': params})}\n\n"
        chunk = f"{len(event):x}\r\n{event}\r\n".encode()
        mark, said = f"event-{number}-".encode(), b""
        began = time.perf_counter_ns()
        self.server.sendall(chunk)
        while True:
            piece = self.client.recv(65_536)
            said += piece
            # The blank line ends an event; that of an answer's head stands before the mark.
            if (at := said.find(mark)) >= 0 and said.find(b"\n\n", at) >= 0:
                return (time.perf_counter_ns() - began) / 1_000
            if not piece:
                raise Broken(f"sse: {self.name} closed after {said[-200:]!r}")
