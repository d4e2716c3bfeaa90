"""Other gateways that speak MCP, as their makers say to run them, each in front of one upstream.

They differ in what they do: `envoy` and `nginx` forward bytes, `envoy-mcp` reads the message, `envoy-router` and the rest end the
client's session and hold one of their own. All are asked by clients of 2025-11-25, which is what they all speak. A gateway is started
for one upstream; `bench/peers/install` has put it there. Where a maker names no setting for speed, the default stands.
"""

import contextlib
import dataclasses
import functools
import http.client
import json
import pathlib
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request

from . import arms
from .arms import PEERS, program
from .processes import Broken, Process, free_ports

CACHE = PEERS / ".cache"
REVISION = "2025-11-25"
UPSTREAM = "up"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where an arm is started: for which upstream, on which core, in which folder."""

    upstream: int
    core: int | str  # or several, as taskset lists them
    folder: pathlib.Path
    strait: pathlib.Path
    floor: pathlib.Path


@dataclasses.dataclass
class Gateway:
    """A started one: where, what the upstream's tool is called there, and what opens it."""

    name: str
    url: str
    tool: str = "echo"
    key: str | None = None
    process: Process | None = None
    metrics: str | None = None  # where Strait tells its own figures


# ------------------------------------------------------------------------------------------------------------- the arms


def direct(place: Place) -> Gateway:
    return Gateway("direct", f"http://127.0.0.1:{place.upstream}/mcp")


def floor(place: Place) -> Gateway:
    [port] = free_ports(1)
    command = [str(place.floor), f"127.0.0.1:{port}", f"127.0.0.1:{place.upstream}"]
    return started("floor", command, place, f"http://127.0.0.1:{port}/mcp")


def nginx(buffering: str = "on"):
    def start(place: Place) -> Gateway:
        port, other = free_ports(2)
        fields = {"LISTEN_SMALL": port, "LISTEN_LARGE": other} | dict.fromkeys(["UPSTREAM_SMALL", "UPSTREAM_LARGE"], place.upstream)
        fields = {name: f"127.0.0.1:{port}" for name, port in fields.items()}
        fields |= {"FOLDER": place.folder, "USER": arms.user(), "BUFFERING": buffering}
        config = arms.fill("nginx.conf", place.folder, fields)
        command = [program("nginx"), "-p", str(place.folder), "-e", str(place.folder / "nginx.log"), "-c", str(config)]
        return started("nginx", command, place, f"http://127.0.0.1:{port}/mcp")

    return start


def strait(name: str, beside: str, workers: int = 1):
    """With a key, roles, rules, metrics and an access line in a hundred; `beside` what else is switched on."""

    def start(place: Place) -> Gateway:
        port, admin = free_ports(2)
        keys = place.folder / "keys.yaml"
        keys.unlink(missing_ok=True)
        key = arms.new_key(place.strait, place.folder)
        config = place.folder / "strait.yaml"
        fields = {"LISTEN": port, "ADMIN": admin, "UPSTREAM": place.upstream, "BESIDE": beside}
        config = arms.fill("gateway.yaml", place.folder, fields)
        command = [str(place.strait), "serve", str(config), "--state", str(place.folder / "state"), "--workers", str(workers)]
        gateway = started(name, command, place, f"http://127.0.0.1:{port}/mcp", key=key)
        gateway.metrics = f"http://127.0.0.1:{admin}/metrics"
        return gateway

    return start


EVERYTHING = """
audit: { path: ./audit, payload: redacted }
limits:
  - { id: burst, per: [principal, tool], on: ["up.*"], rate: 1000000/s, burst: 1000000 }
"""


def envoy(name: str, *filters: str):
    def start(place: Place) -> Gateway:
        port, _ = free_ports(2)
        config = place.folder / "envoy.json"
        config.write_text(json.dumps(envoy_config(port, place.upstream, filters)))
        command = [str(CACHE / "py-envoy" / "bin" / "envoy"), "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
        return started(name, command, place, f"http://127.0.0.1:{port}/mcp")

    return start


def mcp_proxy_crate(place: Place) -> Gateway:
    [port] = free_ports(1)
    config = place.folder / "proxy.toml"
    config.write_text(f"""[proxy]
name = "proxy"
[proxy.listen]
host = "127.0.0.1"
port = {port}
[[backends]]
name = "{UPSTREAM}"
transport = "http"
url = "http://127.0.0.1:{place.upstream}/mcp"
""")
    command = ["env", "RUST_LOG=error", str(CACHE / "cargo" / "bin" / "mcp-proxy"), "--config", str(config)]
    return started("mcp-proxy", command, place, f"http://127.0.0.1:{port}/", tool=f"{UPSTREAM}/echo")


def fastmcp(place: Place) -> Gateway:
    [port] = free_ports(1)
    python = CACHE / "py-fastmcp" / "bin" / "python"
    command = [str(python), str(PEERS / "fastmcp_proxy.py"), f"http://127.0.0.1:{place.upstream}/mcp", str(port)]
    return started("fastmcp", command, place, f"http://127.0.0.1:{port}/mcp")


def litellm(place: Place) -> Gateway:
    [port] = free_ports(1)
    key = "sk-side-by-side"
    config = place.folder / "litellm.yaml"
    config.write_text(f"""mcp_servers:
  {UPSTREAM}: {{ url: "http://127.0.0.1:{place.upstream}/mcp", transport: http }}
general_settings: {{ master_key: {key} }}
""")
    command = ["env", "LITELLM_LOG=ERROR", str(CACHE / "py-litellm" / "bin" / "litellm"), "--config", str(config)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1", "--telemetry", "False"]
    return started("litellm", command, place, f"http://127.0.0.1:{port}/mcp", tool=f"{UPSTREAM}-echo", key=key)


def contextforge(place: Place) -> Gateway:
    """Registers the upstream over its API, and makes a virtual server of all its tools."""
    [port] = free_ports(1)
    secret = "a-secret-of-this-run-that-nobody-needs"
    database = place.folder / "mcp.db"
    database.unlink(missing_ok=True)
    words = {
        "DATABASE_URL": f"sqlite:///{database}", "JWT_SECRET_KEY": secret, "AUTH_ENCRYPTION_SECRET": secret, "AUTH_REQUIRED": "false",
        "PLATFORM_ADMIN_EMAIL": "a@example.com", "PLATFORM_ADMIN_PASSWORD": "x-Pass-123456", "BASIC_AUTH_PASSWORD": "x-Pass-123456",
        "CACHE_TYPE": "memory", "MCPGATEWAY_UI_ENABLED": "false", "LOG_LEVEL": "ERROR", "SSRF_ALLOW_LOCALHOST": "true",
        "SSRF_ALLOW_PRIVATE_NETWORKS": "true", "PLUGINS_ENABLED": "false", "OBSERVABILITY_ENABLED": "false",
    }
    bin = CACHE / "py-contextforge" / "bin"
    command = ["env", *(f"{name}={word}" for name, word in words.items()), str(bin / "mcpgateway")]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    gateway = started("contextforge", command, place, f"http://127.0.0.1:{port}")
    token = subprocess.run([str(bin / "python"), "-c", TOKEN, secret], capture_output=True, text=True, check=True).stdout
    ask = functools.partial(_ask, gateway.url, token)
    gateway.process.wait_until(lambda: ask("/health"))
    ask("/gateways", {"name": UPSTREAM, "url": f"http://127.0.0.1:{place.upstream}/mcp", "transport": "STREAMABLEHTTP"})
    tools = ask("/tools?limit=0")
    server = ask("/servers", {"server": {"name": "all", "associated_tools": [tool["id"] for tool in tools]}})
    gateway.url += f"/servers/{server['id']}/mcp"
    gateway.tool, gateway.key = f"{UPSTREAM}-echo", token
    return gateway


TOKEN = """
import sys, time, jwt
now, who = int(time.time()), "a@example.com"
user = {"email": who, "is_admin": True, "full_name": "A", "auth_provider": "local"}
claims = {"sub": who, "iss": "mcpgateway", "aud": "mcpgateway-api", "iat": now, "exp": now + 86400, "jti": "1", "is_admin": True, "user": user,
          "teams": None, "token_use": "session"}
print(jwt.encode(claims, sys.argv[1], "HS256"), end="")
"""

# In the order of the tables.
GATEWAYS = {
    "direct": direct,
    "floor": floor,
    "nginx": nginx(),
    "envoy": envoy("envoy"),
    "envoy-mcp": envoy("envoy-mcp", "mcp"),
    "envoy-router": envoy("envoy-router", "mcp", "mcp_router"),
    "strait": strait("strait", ""),
    "strait-everything": strait("strait-everything", EVERYTHING),
    "mcp-proxy": mcp_proxy_crate,
    "fastmcp": fastmcp,
    "litellm": litellm,
    "contextforge": contextforge,
}


def upstream(strait: pathlib.Path, core: int, folder: pathlib.Path, text_bytes: int, tools: int, ending: contextlib.ExitStack) -> int:
    """The port of a started `strait echo`, which ends with `ending`."""
    [port] = free_ports(1)
    command = [str(strait), "echo", "--bind", f"127.0.0.1:{port}", "--size", str(text_bytes), "--tools", str(tools)]
    process = Process("upstream", command, core, folder)
    ending.callback(process.end)
    process.wait_until(lambda: looks_right(Gateway("upstream", f"http://127.0.0.1:{port}/mcp"), tools, text_bytes))
    return port


def begin(start, place: Place, tools: int, text_bytes: int, ending: contextlib.ExitStack) -> Gateway:
    """One of GATEWAYS in a fresh folder, once it answers rightly; it ends with `ending`."""
    shutil.rmtree(place.folder, ignore_errors=True)
    place.folder.mkdir()
    gateway = start(place)
    look = lambda: looks_right(gateway, tools, text_bytes)
    if gateway.process:
        ending.callback(gateway.process.end)
        gateway.process.wait_until(look)
    else:
        look()
    return gateway


def started(name: str, command: list[str], place: Place, url: str, tool: str = "echo", key: str | None = None) -> Gateway:
    return Gateway(name, url, tool, key, Process(name, command, place.core, place.folder))


def envoy_config(port: int, upstream: int, filters: tuple[str, ...]) -> dict:
    address = lambda port: {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    kinds = "type.googleapis.com/envoy.extensions.filters"
    typed = {
        "mcp": {"@type": f"{kinds}.http.mcp.v3.Mcp"},
        "mcp_router": {"@type": f"{kinds}.http.mcp_router.v3.McpRouter",
                       "servers": [{"name": UPSTREAM, "mcp_cluster": {"cluster": UPSTREAM, "path": "/mcp"}}]},
    }
    chain = [{"name": f"envoy.filters.http.{name}", "typed_config": typed[name]} for name in filters]
    if "mcp_router" not in filters:
        chain.append({"name": "envoy.filters.http.router", "typed_config": {"@type": f"{kinds}.http.router.v3.Router"}})
    manager = {
        "@type": f"{kinds}.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "in", "codec_type": "HTTP1",
        "generate_request_id": False,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": UPSTREAM, "timeout": "60s"}}]}]},
        "http_filters": chain,
    }
    listener = {"name": "in", "address": address(port),
                "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]}
    cluster = {"name": UPSTREAM, "type": "STATIC", "connect_timeout": "5s", "load_assignment": {
        "cluster_name": UPSTREAM, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(upstream)}}]}]}}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _ask(base: str, token: str, path: str, told: dict | None = None):
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(base + path, json.dumps(told).encode() if told else None, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise Broken(f"{base}{path} answers {error.code}: {error.read()[:500]!r}")


def versions(strait: pathlib.Path) -> dict[str, str]:
    """What was measured: each in its own words, or its package's."""
    said = {name: text for name, text in arms.versions(strait).items() if name != "haproxy"}
    asked = {
        "envoy": [CACHE / "py-envoy" / "bin" / "envoy", "--version"],
        "fastmcp": [CACHE / "py-fastmcp" / "bin" / "pip", "show", "fastmcp"],
        "litellm": [CACHE / "py-litellm" / "bin" / "pip", "show", "litellm"],
        "contextforge": [CACHE / "py-contextforge" / "bin" / "pip", "show", "mcp-contextforge-gateway"],
    }
    for name, command in asked.items():
        if not command[0].exists():
            continue
        ran = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        lines = [line.strip() for line in ran.stdout.splitlines() if line.strip()]
        line = next((line for line in lines if "ersion" in line), "unknown")
        # Envoy says first where it lies.
        said[name] = line.rpartition("ersion: ")[2]
    if (CACHE / "cargo").exists():
        ran = subprocess.run(["cargo", "install", "--list", "--root", str(CACHE / "cargo")], capture_output=True, text=True)
        said["mcp-proxy"] = ran.stdout.partition(":")[0]
    return said


# ------------------------------------------------------------------------------------------------------ a look at one


def looks_right(gateway: Gateway, tools: int, text_bytes: int) -> None:
    """A session, a list and a call, looked at: what answers something else must not be measured."""
    parts = urllib.parse.urlsplit(gateway.url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    if gateway.key:
        headers["Authorization"] = f"Bearer {gateway.key}"

    def say(method: str, params: dict, id: int | None = None):
        body = {"jsonrpc": "2.0", "method": method, "params": params} | ({} if id is None else {"id": id})
        connection.request("POST", parts.path or "/", json.dumps(body), headers)
        reply = connection.getresponse()
        text = reply.read().decode()
        if reply.status not in (200, 202):
            raise Broken(f"{gateway.name} answers {method} with {reply.status}: {text[:300]}")
        if session := reply.headers.get("Mcp-Session-Id"):
            headers["Mcp-Session-Id"] = session
        if id is None:
            return None
        if "text/event-stream" in reply.headers.get("Content-Type", ""):
            lines = [line[5:] for line in text.splitlines() if line.startswith("data:") and '"id"' in line]
            text = lines[-1] if lines else ""
        message = json.loads(text)
        if "result" not in message or message["result"].get("isError"):
            raise Broken(f"{gateway.name} answers {method} with {text[:300]}")
        return message["result"]

    try:
        client = {"name": "side-by-side", "version": "1"}
        began = say("initialize", {"protocolVersion": REVISION, "capabilities": {}, "clientInfo": client}, 1)
        headers["MCP-Protocol-Version"] = began["protocolVersion"]
        say("notifications/initialized", {})
        names, cursor = [], None
        while cursor is not None or not names:
            page = say("tools/list", {"cursor": cursor} if cursor else {}, 2)
            names += [tool["name"] for tool in page["tools"]]
            cursor = page.get("nextCursor")
            if not page["tools"]:
                break
        if gateway.tool not in names or len(names) < tools:
            raise Broken(f"{gateway.name} lists {len(names)} tools, expected {tools} and `{gateway.tool}`: {names[:3]}")
        result = say("tools/call", {"name": gateway.tool, "arguments": {"text": "x"}}, 3)
        found = sum(len(part.get("text", "")) for part in result["content"])
        if found < text_bytes:
            raise Broken(f"{gateway.name} answers {found} bytes of text, expected {text_bytes}")
    except (http.client.HTTPException, ValueError, KeyError) as error:
        raise Broken(f"{gateway.name}: {error!r}")
    finally:
        connection.close()
