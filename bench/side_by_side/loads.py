"""What is sent, and by whom: the workloads, one exchange checked byte by byte, and the two load generators.

Every arm gets the same request bytes. `strait load` sends a fixed number of requests, closed loop, and checks every
answer's id and result; wrk sends for about as long and checks only the status, and is here as a cross-check
by a generator that is not ours.
"""

import dataclasses
import http.client
import json
import pathlib
import subprocess
import urllib.parse

from .processes import Broken

VERSION = "2026-07-28"
TIMEOUT_S = 120


@dataclasses.dataclass(frozen=True)
class Workload:
    name: str
    title: str
    route: str
    connections: int
    requests: int
    era: str = "modern"
    method: str = "tools/call"

    def warm_up(self) -> "Workload":
        return dataclasses.replace(self, requests=max(self.connections * 4, self.requests // 10))

    def shortened(self) -> "Workload":
        return dataclasses.replace(self, requests=max(self.connections * 8, self.requests // 50))


WORKLOADS = (
    Workload("c1", "400 B `tools/call`, 1 connection", "small", 1, 4_000),
    Workload("c16", "400 B `tools/call`, 16 connections", "small", 16, 20_000),
    Workload("c16-16k", "16 KiB both ways, 16 connections", "large", 16, 6_000),
)
# Beside other gateways, which differ a hundredfold: a time, not a number.
GATEWAY_SECONDS = 1
GATEWAY_WORKLOADS = (
    Workload("g1", "200 B `tools/call`, 1 connection", "tiny", 1, 0, "legacy"),
    Workload("g16", "200 B `tools/call`, 16 connections", "tiny", 16, 0, "legacy"),
    Workload("g64", "200 B `tools/call`, 64 connections", "tiny", 64, 0, "legacy"),
    Workload("g16-16k", "16 KiB both ways, 16 connections", "large", 16, 0, "legacy"),
    Workload("list100", "`tools/list` of 100 tools, 16 connections", "list100", 16, 0, "legacy", "tools/list"),
    Workload("list1000", "`tools/list` of 1,000 tools, 16 connections", "list1000", 16, 0, "legacy", "tools/list"),
)
# Of each upstream: bytes of text in a result, and tools.
GATEWAY_UPSTREAMS = {"tiny": (60, 1), "large": (16 * 1024, 1), "list100": (60, 100), "list1000": (60, 1000)}
BODY_BYTES = {"small": 400, "large": 16 * 1024, "tiny": 200, "list100": 200, "list1000": 200}
REPLY_BYTES = {"small": 300, "large": 16 * 1024}
# Around the text of a reply of `strait echo`, and around the padding of a request of `strait load`.
REPLY_ENVELOPE_BYTES = 150
REQUEST_ENVELOPE_BYTES = 316
LEGACY_ENVELOPE_BYTES = 110


@dataclasses.dataclass(frozen=True)
class Request:
    headers: dict[str, str]
    body: bytes
    reply_bytes_min: int


def request(route: str, key: str) -> Request:
    """A `tools/call` of 2026-07-28 whose body has exactly the route's size."""

    def body(padding: str) -> bytes:
        meta = {
            "io.modelcontextprotocol/protocolVersion": VERSION,
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        params = {"name": "echo", "arguments": {"text": padding}, "_meta": meta}
        return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()

    bytes_wanted = BODY_BYTES[route]
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "Authorization": f"Bearer {key}",
        "MCP-Protocol-Version": VERSION,
        "Mcp-Method": "tools/call",
        "Mcp-Name": "echo",
    }
    return Request(headers, body("x" * (bytes_wanted - len(body("")))), REPLY_BYTES[route] * 3 // 4)


def exchange(url: str, request: Request) -> None:
    """One exchange, looked at closely: a proxy that answers something else must not be measured."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=5)
    try:
        connection.request("POST", parts.path, request.body, request.headers)
        reply = connection.getresponse()
        body = reply.read()
    except http.client.HTTPException as error:
        raise Broken(f"{url}: {error!r}")
    finally:
        connection.close()
    shown = body[:300].decode(errors="replace")
    if reply.status != 200:
        raise Broken(f"{url} answered {reply.status}: {shown}")
    message = json.loads(body)
    if message.get("id") != 1 or message.get("result", {}).get("isError") or "result" not in message:
        raise Broken(f"{url} answered something else: {shown}")
    if len(body) < request.reply_bytes_min:
        raise Broken(f"{url} answered {len(body)} bytes, expected about {request.reply_bytes_min}")


@dataclasses.dataclass(frozen=True)
class Sent:
    """What a generator says it did. `handled` counts every request a proxy saw, warm-up included."""

    measured: int
    handled: int
    errors: int
    per_second: float
    p50_us: float | None
    p90_us: float | None
    p99_us: float | None


class StraitLoad:
    """`strait load`, closed loop. Its own handshake is a request or two among thousands."""

    HANDSHAKE = 2

    def __init__(self, strait: pathlib.Path, core: int, key: str):
        self.strait, self.core, self.key = strait, core, key

    def run(self, url: str, workload: Workload) -> Sent:
        padding = BODY_BYTES[workload.route] - REQUEST_ENVELOPE_BYTES
        command = ["taskset", "--cpu-list", str(self.core), str(self.strait), "load", url, "--closed", "--json"]
        command += ["--connections", str(workload.connections), "--requests", str(workload.requests)]
        command += ["--era", "modern", "--tool", "echo", "--size", str(padding), "--key", self.key]
        told = json.loads(_run(command, may_exit=(0, 1, 3)))
        latency = told["latency_ns"]
        # A percentile for which there are too few samples is refused: None.
        micros = {f"{point}_us": latency[point] and latency[point] / 1_000 for point in ("p50", "p90", "p99")}
        # What was not answered is an error as well, however the generator files it.
        errors = workload.requests - told["succeeded"]
        handled = told["measured"] + self.HANDSHAKE
        return Sent(told["measured"], handled, errors, told["achieved_rate"], **micros)


class GatewayLoad:
    """`strait load` as a client of 2025-11-25. Each connection has a session of its own."""

    HANDSHAKE = 3  # initialize, initialized, a list to find the tool in

    def __init__(self, strait: pathlib.Path, core: int):
        self.strait, self.core = strait, core

    def run(self, gateway, workload: Workload, seconds: float) -> Sent:
        """Closed loop, for a time."""
        told = self.ask(gateway, workload, "--closed", "--duration", f"{seconds}s")
        latency = told["latency_ns"]
        micros = {f"{point}_us": latency[point] and latency[point] / 1_000 for point in ("p50", "p90", "p99")}
        handled = told["measured"] + self.HANDSHAKE * workload.connections
        return Sent(told["measured"], handled, told["measured"] - told["succeeded"], told["achieved_rate"], **micros)

    def ask(self, gateway, workload: Workload, *plan: str) -> dict:
        """What the generator tells, whole."""
        padding = BODY_BYTES[workload.route] - LEGACY_ENVELOPE_BYTES
        command = ["taskset", "--cpu-list", str(self.core), str(self.strait), "load", gateway.url, *plan, "--json", "--timeout", "60s"]
        command += ["--connections", str(workload.connections), "--era", workload.era]
        command += ["--mix", f"{workload.method}=1", "--tool", gateway.tool, "--size", str(padding)]
        if gateway.key:
            command += ["--key", gateway.key]
        return json.loads(_run(command, may_exit=(0, 1, 3)))


class Wrk:
    """wrk(1), for about as long as `strait load` would need."""

    def __init__(self, program: str, core: int, folder: pathlib.Path, requests: dict[str, Request]):
        self.program, self.core, self.folder, self.requests = program, core, folder, requests
        for route, request in requests.items():
            (folder / f"{route}.json").write_bytes(request.body)

    def run(self, url: str, workload: Workload) -> Sent:
        request = self.requests[workload.route]
        seconds = max(1, round(workload.requests / 20_000))
        command = ["taskset", "--cpu-list", str(self.core), self.program]
        command += ["--threads", "1", "--connections", str(workload.connections), "--duration", f"{seconds}s"]
        command += ["--script", str(pathlib.Path(__file__).parent.parent / "peers" / "wrk.lua")]
        for name, value in request.headers.items():
            command += ["--header", f"{name}: {value}"]
        command += [url, "--", str(self.folder / f"{workload.route}.json")]
        said = _run(command).splitlines()[-1]
        told = json.loads(said)
        return Sent(**told, per_second=told["measured"] / seconds, handled=told["measured"])


def _run(command: list[str], may_exit: tuple[int, ...] = (0,)) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    if ran.returncode not in may_exit:
        raise Broken(f"`{' '.join(command[3:])}` ended with {ran.returncode}:\n{ran.stdout[-1000:]}{ran.stderr[-1000:]}")
    return ran.stdout


def upstream(strait: pathlib.Path, address: str, route: str) -> list[str]:
    """The command of a server whose results are so large that a whole reply has about the route's size."""
    return [str(strait), "echo", "--bind", address, "--size", str(REPLY_BYTES[route] - REPLY_ENVELOPE_BYTES), "--tools", "1"]
