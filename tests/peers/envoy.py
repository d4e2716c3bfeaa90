#!/usr/bin/env python3
"""A real Envoy on either side of Strait, with TLS and client certificates on every hop between them.

    tests/peers/envoy.py [--strait PATH]

In front: clients speak clear text to Envoy, which shows Strait its own SPIFFE certificate: an `mtls` identity knows it by that, and knows
an Envoy with another name, or none, not at all. Behind: an upstream is an `https` URL of an Envoy that lets in nobody without a
certificate of ours. In between the certificates of both are renewed. Standard library and `openssl`; `install` comes first.
"""

import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request

import processes
from echo import echo
from processes import free_port, listens, stop, wait_for
from run import CACHE, HERE, ROOT, Tally, expect

ENVOY = CACHE / "py-envoy" / "bin" / "envoy"
AGENT = "spiffe://corp/agent/front"
MODERN = "2026-07-28"

# ------------------------------------------------------------------------------------------------------- certificates


class Authority:
    """Who issues; `openssl` does it."""

    def __init__(self, home: pathlib.Path, name: str):
        self.home, self.name = home, name
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                     "-keyout", f"{name}.key", "-out", f"{name}.pem")

    def openssl(self, *arguments: str):
        done = processes.run(["openssl", *arguments], 30, cwd=self.home)
        if done.status:
            raise RuntimeError(f"openssl {arguments[0]}: {done.err[-500:]}")

    def issue(self, name: str, san: str, use: str):
        """A pair `name.pem` and `name.key`; put in place whole, so that whoever watches it sees no half."""
        (self.home / f"{name}.ext").write_text(f"subjectAltName={san}\nextendedKeyUsage={use}\n")
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key.new",
                     "-out", f"{name}.csr")
        self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{self.name}.pem", "-CAkey", f"{self.name}.key", "-CAcreateserial", "-days", "1",
                     "-extfile", f"{name}.ext", "-out", f"{name}.pem.new")
        for kind in ("key", "pem"):
            os.replace(self.home / f"{name}.{kind}.new", self.home / f"{name}.{kind}")

    def serial(self, name: str) -> int:
        done = processes.run(["openssl", "x509", "-noout", "-serial", "-in", f"{name}.pem"], 30, cwd=self.home)
        return int(done.out.strip().removeprefix("serial="), 16)


# --------------------------------------------------------------------------------------------------------------- parts


def file(path: pathlib.Path) -> dict:
    return {"filename": str(path)}


def pair(home: pathlib.Path, name: str) -> dict:
    return {"certificate_chain": file(home / f"{name}.pem"), "private_key": file(home / f"{name}.key")}


def tls(kind: str, context: dict) -> dict:
    return {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": f"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{kind}",
                                                                    **context}}


def listener(name: str, port: int, cluster: str, socket: dict | None) -> dict:
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name, "codec_type": "AUTO",
        "route_config": {"virtual_hosts": [{"name": name, "domains": ["*"],
                                            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "60s"}}]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {"name": name, "address": address(port), "filter_chains": [{**chain, "transport_socket": socket} if socket else chain]}


def cluster(name: str, port: int, socket: dict | None) -> dict:
    found = {"name": name, "type": "STATIC", "connect_timeout": "5s",
             "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}]}}
    return {**found, "transport_socket": socket} if socket else found


def address(port: int) -> dict:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


@contextlib.contextmanager
def running(command: list[str], home: pathlib.Path, log: str, port: int):
    with open(home / log, "ab") as out:
        child = subprocess.Popen(command, cwd=home, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        def ready():
            if child.poll() is not None:
                raise RuntimeError(f"{command[0]} ended with {child.returncode}: {(home / log).read_text(errors='replace')[-1500:]}")
            return listens(port)
        wait_for(f"{log}: port {port}", 60, ready)
        yield child
    finally:
        stop(child)


def call(port: int, text: str, path: str = "/mcp") -> tuple[int, dict]:
    meta = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": text}, "_meta": meta}}
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": MODERN,
               "Mcp-Method": "tools/call", "Mcp-Name": "echo"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"{}")


# ---------------------------------------------------------------------------------------------------------------- site


class Site:
    """Envoy `front` (three ways in) -> strait -> Envoy `back` -> `strait echo`."""

    def __init__(self, strait: str, home: pathlib.Path, upstream: str):
        self.strait, self.home = strait, home
        self.ca = Authority(home, "ca")
        self.ca.issue("gateway", "DNS:localhost,IP:127.0.0.1", "serverAuth")
        self.ca.issue("back", "DNS:localhost", "serverAuth")
        self.clients = Authority(home, "clients")
        for name, san in [("front", f"URI:{AGENT}"), ("stranger", "URI:spiffe://corp/robot/front"), ("strait", "URI:spiffe://corp/gateway")]:
            self.clients.issue(name, san, "clientAuth")
        names = ["mesh", "strange", "bare", "gateway", "admin", "back", "echo"]
        self.ports = {name: free_port() for name in names[:-1]} | {"echo": int(upstream.split(":")[2].split("/")[0])}
        trusts = {"trusted_ca": file(home / "ca.pem")}
        ways = {"mesh": [pair(home, "front")], "strange": [pair(home, "stranger")], "bare": []}

        def to_strait(pairs):
            return tls("UpstreamTlsContext", {"sni": "localhost", "common_tls_context": {
                "alpn_protocols": ["http/1.1"], "tls_certificates": pairs, "validation_context": trusts}})
        inside = tls("DownstreamTlsContext", {"require_client_certificate": True, "common_tls_context": {
            "alpn_protocols": ["http/1.1"], "tls_certificates": [pair(home, "back")],
            "validation_context": {"trusted_ca": file(home / "clients.pem"),
                                   "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": "spiffe://corp/gateway"}}]}}})
        self.write("front.json", [listener(way, self.ports[way], way, None) for way in ways],
                   [cluster(way, self.ports["gateway"], to_strait(pairs)) for way, pairs in ways.items()])
        self.write("back.json", [listener("back", self.ports["back"], "echo", inside)], [cluster("echo", self.ports["echo"], None)])
        (home / "strait.yaml").write_text(json.dumps({
            "strait": 1,
            "listeners": {"main": {"bind": f"127.0.0.1:{self.ports['gateway']}", "hosts": ["*"], "tls": {
                "cert": "gateway.pem", "key": "gateway.key", "client_ca": "clients.pem", "client_auth": "optional"}}},
            "admin": {"bind": f"127.0.0.1:{self.ports['admin']}"},
            "access_log": {"path": "access.log"},
            "upstreams": {"up": {"http": f"https://localhost:{self.ports['back']}/mcp",
                                 "tls": {"ca": "ca.pem", "cert": "strait.pem", "key": "strait.key"}}},
            "identity": {"mesh": {"mtls": {"san": "spiffe://corp/agent/*", "groups": ["agents"]}}},
            "roles": {"agents": '"agents" in principal.groups'},
            "servers": {"default": {"path": "/mcp", "auth": ["mesh"], "tools": ["*"]}},
            "policy": {"default": "deny", "rules": [{"id": "all", "allow": ["*"], "to": ["agents"]}]},
        }))

    def write(self, name: str, listeners: list, clusters: list):
        (self.home / name).write_text(json.dumps({"static_resources": {"listeners": listeners, "clusters": clusters}}))

    def envoy(self, name: str, port: int):
        command = [str(ENVOY), "-c", f"{name}.json", "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
        return running(command, self.home, f"{name}.log", port)

    def gateway(self):
        command = [self.strait, "serve", "strait.yaml", "--state", "state", "--workers", "2"]
        return running(command, self.home, "strait.log", self.ports["gateway"])

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in (self.home / "access.log").read_text().splitlines()]


def principal(site: Site):
    status, answer = call(site.ports["mesh"], "through both")
    expect("through both" in json.dumps(answer) and status == 200, f"{status} {answer}")
    wait_for("its line", 20, lambda: any(line.get("tool") == "echo" and line["principal"] == AGENT for line in site.lines()))


def refused(site: Site, way: str, why: str):
    status, answer = call(site.ports[way], "x")
    expect(status == 401 and why in json.dumps(answer), f"{status} {answer}")


def many(site: Site):
    """Two callers at once, sizes around a record and far over it."""
    failed = []

    def caller():
        for size in [1, 400, 16_383, 16_384, 70_000, 1_000_000] * 3:
            status, answer = call(site.ports["mesh"], "y" * size)
            if status != 200 or len(json.dumps(answer)) < size:
                failed.append((size, status, str(answer)[:200]))
    threads = [threading.Thread(target=caller) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(not failed, str(failed[:3]))


def renewed(site: Site):
    """The gateway's certificate at both ends changes under way; the upstream's Envoy sees the new one of the next connections."""
    site.ca.issue("gateway", "DNS:localhost,IP:127.0.0.1", "serverAuth")
    served = f"{site.ca.serial('gateway'):X}"

    def shows():
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{site.ports['gateway']}"]
        shown = processes.run(command, 20, cwd=site.home).out
        done = processes.run(["openssl", "x509", "-noout", "-serial"], 20, shown.encode())
        return served in done.out
    wait_for("the renewed certificate", 30, shows)
    principal(site)
    site.clients.issue("strait", "URI:spiffe://corp/gateway", "clientAuth")
    principal(site)
    site.clients.issue("strait", "URI:spiffe://corp/somebody-else", "clientAuth")

    def fails():
        _, answer = call(site.ports["mesh"], "z")
        return "upstream" in json.dumps(answer.get("error", {})) or answer.get("result", {}).get("isError")
    wait_for("Envoy to refuse another name", 30, fails)
    site.clients.issue("strait", "URI:spiffe://corp/gateway", "clientAuth")
    wait_for("Envoy to let the right one in again", 30, lambda: not fails())


# ---------------------------------------------------------------------------------------------------------------- main


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--strait", default=str(ROOT / "target/release/strait"))
    chosen = parser.parse_args()
    processes.bound(10)
    strait = os.path.abspath(chosen.strait)
    if not ENVOY.exists():
        print(f"{ENVOY} is not there: run {HERE / 'install'} first", file=sys.stderr)
        return 3
    tally, home = Tally(), pathlib.Path(tempfile.mkdtemp(prefix="strait-envoy-"))
    upstream = echo(strait, [])
    try:
        site = Site(strait, home, upstream.url)
        with site.envoy("back", site.ports["back"]), site.gateway(), site.envoy("front", site.ports["mesh"]):
            tally.check("an Envoy with a SPIFFE certificate is who that says, through to an upstream behind another", lambda: principal(site))
            tally.check("an Envoy of another name is nobody", lambda: refused(site, "strange", "has no such name"))
            tally.check("an Envoy without a certificate is told so", lambda: refused(site, "bare", "has shown none"))
            tally.check("small and large calls, two at once", lambda: many(site))
            tally.check("certificates are renewed on both sides", lambda: renewed(site))
    finally:
        stop(upstream.child)
    return tally.end(home, keep=False)


if __name__ == "__main__":
    sys.exit(main())
