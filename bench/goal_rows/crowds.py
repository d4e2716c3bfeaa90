"""Rows about many connections: what one that idles takes in memory, and whether thousands of them slow those that call."""

import contextlib
import json
import resource
import socket
import time
import urllib.parse

from side_by_side import gateways
from side_by_side.loads import Workload
from side_by_side.processes import Broken

from .ground import Ground

BUSY = Workload("connections", "200 busy connections", "tiny", 200, 0, "legacy")
WANTED = 10_000
# A gateway gives the buffers of a connection back after a second without a request.
QUIET_SECONDS = 2.5
# Files of a gateway beside its clients: upstreams' connections, logs, rings.
OTHER_FILES = 1_000


def crowd(ground: Ground, number: int, wanted: set[str]) -> None:
    """Two gateways alike, one of them with a crowd that called once and idles."""
    size = (300 if ground.is_quick else members()) - BUSY.connections
    names = ["alone", "crowded"] if "connections" in wanted else ["crowded"]
    with contextlib.ExitStack() as in_round:
        started = {
            name: ground.gateway(name, BUSY.route, in_round, gateways.strait(name, gateways.EVERYTHING)) for name in names
        }
        crowded = started["crowded"]
        time.sleep(ground.seconds(QUIET_SECONDS))
        before = crowded.process.rss_kib()
        sockets = in_round.enter_context(connected(crowded, size))
        time.sleep(ground.seconds(QUIET_SECONDS))
        after = crowded.process.rss_kib()
        if "idle-connection" in wanted:
            ground.found(
                number, "idle-connection", "crowded", kib=(after - before) / len(sockets), connections=len(sockets),
                before_mib=before / 1024, after_mib=after / 1024,
            )
        if "connections" in wanted:
            for gateway in ground.shuffled(list(started.values())):
                ground.cost(number, BUSY, gateway, 1.5)
            closed = sum(is_closed(one) for one in sockets)
            if closed:
                raise Broken(f"{closed} of {len(sockets)} idle connections were closed meanwhile")


def members() -> int:
    """As many connections as both ends' open files allow, at most those that the goal speaks of."""
    return min(WANTED, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - OTHER_FILES)


def raise_open_files() -> int:
    """To what this user may have; gateways that are started inherit it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@contextlib.contextmanager
def connected(gateway: gateways.Gateway, count: int):
    """Connections that made one call each, all in one session; closed with the block."""
    parts = urllib.parse.urlsplit(gateway.url)
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        f"Accept: application/json, text/event-stream\r\nAuthorization: Bearer {gateway.key}\r\n"
    )
    sockets: list[socket.socket] = []
    try:
        hello = {"protocolVersion": gateways.REVISION, "capabilities": {}, "clientInfo": {"name": "crowd", "version": "1"}}
        sockets.append(socket.create_connection((parts.hostname, parts.port), timeout=10))
        said = exchanged(sockets[0], head, {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello})
        [session] = [line.split(b":")[1].strip().decode() for line in said.split(b"\r\n") if line.lower().startswith(b"mcp-session-id:")]
        head += f"Mcp-Session-Id: {session}\r\nMCP-Protocol-Version: {gateways.REVISION}\r\n"
        exchanged(sockets[0], head, {"jsonrpc": "2.0", "method": "notifications/initialized"}, b"202")
        for number in range(1, count + 1):
            if number > 1:
                sockets.append(socket.create_connection((parts.hostname, parts.port), timeout=10))
            params = {"name": gateway.tool, "arguments": {"text": "x"}}
            exchanged(sockets[-1], head, {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})
        yield sockets
    finally:
        for one in sockets:
            one.close()


def exchanged(connection: socket.socket, head: str, message: dict, status: bytes = b"200") -> bytes:
    body = json.dumps(message).encode()
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    said = b""
    while True:
        piece = connection.recv(65_536)
        said += piece
        start, _, rest = said.partition(b"\r\n\r\n")
        lengths = [int(line.split(b":")[1]) for line in start.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        if b"\r\n\r\n" in said and len(rest) >= (lengths or [0])[0]:
            break
        if not piece:
            raise Broken(f"a connection of the crowd was closed after {said[:200]!r}")
    if said.split(b" ")[1] != status or b'"error"' in rest:
        raise Broken(f"the crowd was answered {said[:300]!r}")
    return said


def is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
