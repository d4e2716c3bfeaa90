#!/usr/bin/env python3
"""Real identity providers, a gateway that believes them, and clients that find their way to it.

    tests/peers/identity.py [--strait PATH] [--only WORD] [--keep]

The issuer is npm `oidc-provider` (fixtures/oidc_provider.mjs): its tokens, signed in every way and opaque, good and bad; its keys
change, and it goes away. The second is Debian's `glewlwyd` (glewlwyd.py). Then the authorization dance (dance.py). Standard
library only; `install` comes first. Read on at `main`.
"""

import argparse
import base64
import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request

import dance
import glewlwyd
import processes
from conformance import Running, put_fixtures
from glewlwyd import KINDS, Glewlwyd
from processes import free_port, stop, wait_for
from run import CACHE, HERE, NODE, NPM, ROOT, Tally, expect, post, same

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
# Machines of the provider: each gets tokens of another make.
MACHINES = [
    {"client_id": "rs256", "access_token_alg": "RS256"},
    {"client_id": "es256", "access_token_alg": "ES256"},
    {"client_id": "eddsa", "access_token_alg": "EdDSA"},
    {"client_id": "short", "access_token_ttl": 2},
    {"client_id": "opaque", "access_token_format": "opaque"},
    {"client_id": "agent", "grant_types": ["client_credentials", EXCHANGE]},
    {"client_id": "gateway"},
]
SECRET = "of a machine, for tests"


# -------------------------------------------------------------------------------------------------------------- provider


class Provider:
    """An oidc-provider, which may end and come back with other keys."""

    def __init__(self, home: pathlib.Path, **settings):
        self.port, self.home = free_port(), home
        self.url = f"http://127.0.0.1:{self.port}"
        clients = [{**machine, "client_secret": SECRET} for machine in MACHINES]
        self.settings = {"clients": clients, **settings}
        self.running = self.start()

    def start(self) -> Running:
        command = ["node", str(NPM / "fixtures/oidc_provider.mjs"), str(self.port), json.dumps(self.settings)]
        return Running(command, self.port, self.home, "provider")

    def end(self):
        stop(self.running.child)

    def begin_anew(self):
        self.end()
        self.running = self.start()

    def answered(self) -> list[dict]:
        """What it was asked so far."""
        return [json.loads(line) for line in self.running.log.read_text().splitlines() if line.startswith("{")]

    def ask(self, path: str, machine: str, **form) -> dict:
        given = base64.b64encode(f"{urllib.parse.quote(machine)}:{urllib.parse.quote(SECRET)}".encode()).decode()
        request = urllib.request.Request(self.url + path, urllib.parse.urlencode(form).encode(), {"Authorization": f"Basic {given}"})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return json.loads(answer.read() or "{}")
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} for {machine}: {error.code} {error.read().decode()[:500]}") from None

    def token(self, machine: str, resource: str, scope: str = "mcp") -> str:
        return self.ask("/token", machine, grant_type="client_credentials", resource=resource, scope=scope)["access_token"]

    def exchanged(self, machine: str, token: str, resource: str) -> str:
        return self.ask("/token", machine, grant_type=EXCHANGE, subject_token=token, subject_token_type=ACCESS_TOKEN,
                        resource=resource, scope="mcp")["access_token"]


# --------------------------------------------------------------------------------------------------------------- gateway


class Gateway:
    """A strait that believes one provider, in several ways at several servers."""

    def __init__(self, strait: str, home: pathlib.Path, port: int, issuer: str, second: Glewlwyd):
        self.port, self.home = port, home
        self.base = f"http://127.0.0.1:{self.port}"
        jwt = {"issuer": issuer, "scopes": ["mcp"]}
        self.config = {
            "strait": 1,
            "listeners": {"main": {"bind": f"127.0.0.1:{self.port}"}},
            "admin": {"bind": f"127.0.0.1:{free_port()}"},
            "access_log": {"path": "access.log", "sample": 1.0},
            "upstreams": {
                "hello": {"sample": "stdio"},
                # The gateway as its own upstream: the one server asks the other, with a token of the provider's.
                "own": {"http": self.url("signed"), "credential": {"oauth": self.client(issuer, "gateway")}},
                "lent": {"http": self.url("signed"), "credential": {"exchange": self.client(issuer, "agent")}},
            },
            "identity": {
                "signed": {"jwt": jwt},
                "exact": {"jwt": {**jwt, "skew": "0s"}},
                "growing": {"jwt": jwt},
                "admins": {"jwt": {**jwt, "scopes": ["mcp", "mcp:admin"]}},
                # A token that stands for a client alone has no `sub` here.
                "asked": {"introspection": {"endpoint": f"{issuer}/token/introspection", "issuer": issuer, "client": "gateway",
                                            "secret": "${env:GATEWAY_SECRET}", "keep": "1s", "scopes": ["mcp"],
                                            "principal": {"id": ["sub", "client_id"]}}},
                **{kind: {"jwt": {**jwt, "issuer": second.issuer(kind)}} for kind in KINDS},
                "revocable": {"introspection": {"endpoint": f"{second.issuer('rsa')}/introspect", "issuer": second.issuer("rsa"), "client": "machine",
                                                "secret": "${env:SECOND_SECRET}", "keep": "1s", "principal": {"id": "client_id"}}},
            },
            "servers": {name: {"path": path, "auth": auth, "tools": [f"{THROUGH.get(name, 'hello')}.*"]} for name, (path, auth) in SERVERS.items()},
            "policy": {"default": "deny", "rules": [{"id": "all", "allow": ["*.greet"]},
                                                    {"id": "delete", "allow": ["hello.delete_note"], "scopes": ["mcp:admin"]}]},
        }
        self.write()
        os.environ |= {"GATEWAY_SECRET": SECRET, "SECOND_SECRET": glewlwyd.PASSWORD}
        self.running = Running([strait, "up", "strait.yaml", "--state", "state", "--workers", "2"], self.port, home, "strait")

    def client(self, issuer: str, machine: str) -> dict:
        """Who the gateway is at the provider, where it asks for tokens that its upstream believes."""
        return {"token_url": f"{issuer}/token", "client": machine, "secret": "${env:GATEWAY_SECRET}", "scope": ["mcp"], "resource": self.url("signed")}

    def write(self):
        (self.home / "strait.yaml").write_text(json.dumps(self.config))

    def url(self, server: str = "signed") -> str:
        return self.base + SERVERS[server][0]

    def call(self, token: str | None, server: str = "signed") -> tuple[int, dict | str]:
        return post(self.url(server), token, "tools/call", {"name": "greet", "arguments": {"name": "Ada"}})

    def accepts(self, token: str, server: str = "signed", within: float = 0) -> dict:
        """The access line of a call with it. A gateway that was started just now may still be on its way to the provider."""
        seen = len(self.permitted())

        def called():
            status, answer = self.call(token, server)
            if status == 200 and isinstance(answer, dict) and "result" in answer:
                return True
            expect(within, f"{server}: {status} {answer}\n{self.running.tail()}")
            return False

        wait_for(f"a call at {server}", within, called)
        return wait_for("its access line", 5, lambda: self.permitted()[seen:])[-1]

    def refuses(self, token: str | None, server: str, status: int, words: str):
        """Why, the challenge says."""
        seen, challenge = self.challenge(token, server)
        same(seen, status, f"status at {server}, with {challenge}")
        expect(words in challenge, f"{challenge} does not say `{words}`")

    def challenge(self, token: str | None, server: str) -> tuple[int, str]:
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        request = urllib.request.Request(self.url(server), b"{}", {**headers, **({"Authorization": f"Bearer {token}"} if token else {})})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, ""
        except urllib.error.HTTPError as error:
            return error.code, error.headers.get("WWW-Authenticate", "")

    def refused_at_last(self, token: str, server: str, within: float):
        """By every worker: each has what it knows for itself, and none is chosen here. Who asks too often is held up."""
        wait_for("its end", within, lambda: all(self.challenge(token, server)[0] == 401 for _ in range(6)), every=0.5)

    def asks_for(self, identity: str, scopes: list[str]):
        """From now on, of every token."""
        self.config["identity"][identity]["jwt"] = {**self.config["identity"][identity]["jwt"], "scopes": scopes}
        self.write()
        wait_for("the challenge with them", 20, lambda: f'scope="{" ".join(scopes)}"' in self.challenge(None, identity)[1])

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in (self.home / "access.log").read_text().splitlines()]

    def permitted(self) -> list[dict]:
        """The access lines of calls so far."""
        return [line for line in self.lines() if line.get("method") == "tools/call" and line.get("verdict") == "permit"]


SERVERS = {  # name -> path, identities
    "signed": ("/mcp", ["signed"]),
    "exact": ("/exact/mcp", ["exact"]),
    "admin": ("/admin/mcp", ["admins"]),
    "growing": ("/growing/mcp", ["growing"]),
    "asked": ("/asked/mcp", ["asked"]),
    "both": ("/both/mcp", ["asked", "exact"]),
    "several": ("/several/mcp", [*KINDS, "signed"]),
    "revocable": ("/revocable/mcp", ["revocable"]),
    "through": ("/through/mcp", ["signed"]),
    "behalf": ("/behalf/mcp", ["signed"]),
}
THROUGH = {"through": "own", "behalf": "lent"}  # servers that reach `signed` as their upstream


# ---------------------------------------------------------------------------------------------------------------- tokens


@dataclasses.dataclass
class Site:
    provider: Provider
    second: Glewlwyd
    gateway: Gateway

    def fresh(self, machine: str, server: str = "signed", scope: str = "mcp") -> str:
        """A token of this machine for a server of the gateway."""
        return self.provider.token(machine, self.gateway.url(server), scope)


def part(token: str, which: int) -> dict:
    text = token.split(".")[which]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def signed_with(site: Site, machine: str, algorithm: str) -> str:
    token = site.fresh(machine)
    same((part(token, 0)["alg"], part(token, 0)["typ"]), (algorithm, "at+jwt"), "head of the token")
    line = site.gateway.accepts(token, within=20)
    same((line["principal"], line["server"]), (machine, "signed"), "who called")
    return algorithm


def another_audience(site: Site):
    site.gateway.refuses(site.fresh("es256", "admin"), "signed", 401, "it is for another audience")
    site.gateway.refuses(site.fresh("es256"), "exact", 401, "it is for another audience")


def expires(site: Site):
    """Believed, kept by its worker, and refused when it ends, whatever is kept."""
    token = site.fresh("short", "exact")
    site.gateway.accepts(token, "exact")
    site.gateway.refused_at_last(token, "exact", 10)
    site.gateway.refuses(token, "exact", 401, "it has expired")


def lacks_a_scope(site: Site):
    site.gateway.refuses(site.fresh("es256", "admin"), "admin", 403, 'error="insufficient_scope"')
    site.gateway.refuses(site.fresh("es256", "admin"), "admin", 403, 'scope="mcp mcp:admin"')
    site.gateway.accepts(site.fresh("es256", "admin", "mcp mcp:admin"), "admin")


def tampered(site: Site):
    head, body, signature = site.fresh("rs256").split(".")
    body = base64.urlsafe_b64encode(json.dumps({**part(f".{body}.", 1), "sub": "ada"}).encode()).decode().rstrip("=")
    site.gateway.refuses(f"{head}.{body}.{signature}", "signed", 401, "its signature is wrong")


def on_behalf(site: Site) -> str:
    """An agent exchanges what it was called with: the gateway sees for whom it acts, and who acts."""
    own = site.fresh("rs256")
    line = site.gateway.accepts(site.provider.exchanged("agent", own, site.gateway.url()))
    same((line["principal"], line.get("agent")), ("rs256", "agent"), "for whom, and who")
    return "rs256 by agent"


def introspected(site: Site):
    token = site.fresh("opaque", "asked")
    line = site.gateway.accepts(token, "asked")
    same(line["principal"], "opaque", "who called")
    site.provider.ask("/token/revocation", "opaque", token=token)
    site.gateway.refused_at_last(token, "asked", 10)
    site.gateway.refuses(token, "asked", 401, "its issuer does not know it, or not any more")


def introspected_and_wrong(site: Site):
    site.gateway.refuses("never-given-out", "asked", 401, "its issuer does not know it, or not any more")
    site.gateway.refuses(site.fresh("opaque", "signed"), "asked", 401, "it is for another audience")
    site.gateway.refuses(site.fresh("opaque", "asked", "mcp:admin"), "asked", 403, "insufficient_scope")


def signed_or_asked(site: Site):
    """The provider is not asked about what it has signed, and says so with 400 and a word: its other tokens are none the worse for it."""
    site.gateway.accepts(site.fresh("opaque", "both"), "both")
    token = site.fresh("short", "both")
    site.gateway.accepts(token, "both")
    site.gateway.refused_at_last(token, "both", 10)
    site.gateway.refuses(token, "both", 401, "it has expired")
    complaints = [line for line in site.gateway.running.log.read_text().splitlines() if "introspection:" in line]
    same(complaints, [], "complaints of the provider")


def keys_change(site: Site):
    """The provider comes back with other keys: they are learnt because of the first token that names one, and the old ones go."""
    before = site.fresh("es256")
    site.gateway.accepts(before)
    site.provider.begin_anew()
    site.gateway.accepts(site.fresh("es256"), within=20)
    site.gateway.refused_at_last(before, "signed", 20)


def provider_is_away(site: Site):
    """What is known goes on, tokens never seen before as well; nobody can be asked about others."""
    known, unseen, opaque = site.fresh("es256"), site.fresh("es256"), site.fresh("opaque", "asked")
    site.gateway.accepts(known)
    site.provider.end()
    site.gateway.accepts(known)
    site.gateway.accepts(unseen)
    same(site.gateway.challenge(opaque, "asked")[0], 503, "status where the provider would have to be asked")
    site.provider.running = site.provider.start()
    site.gateway.accepts(site.fresh("es256"), within=20)
    site.gateway.accepts(site.fresh("opaque", "asked"), "asked", within=20)


def reached(site: Site, server: str) -> dict:
    """The line that a call through this server leaves at the one behind it, which believes nobody's word but the provider's."""
    before = len(site.gateway.permitted())
    site.gateway.accepts(site.fresh("rs256", server), server, within=20)

    def both():
        lines = {line["server"]: line for line in site.gateway.permitted()[before:]}
        return lines if {server, "signed"} <= set(lines) else None

    lines = wait_for("a line of each of the two", 5, both)
    same(lines[server]["principal"], "rs256", "who called the first of them")
    return lines["signed"]


def with_its_own(site: Site):
    """Client credentials: the gateway is a client of its own at the upstream."""
    same(reached(site, "through")["principal"], "gateway", "who called the upstream")


def with_a_lent_one(site: Site) -> str:
    """Token exchange: the caller is who it was, and the gateway acts for it."""
    line = reached(site, "behalf")
    same((line["principal"], line.get("agent")), ("rs256", "agent"), "for whom, and who")
    return "rs256 by agent"


TOKENS = {
    "RS256": lambda site: signed_with(site, "rs256", "RS256"),
    "ES256": lambda site: signed_with(site, "es256", "ES256"),
    "EdDSA": lambda site: signed_with(site, "eddsa", "EdDSA"),
    "for another audience": another_audience,
    "past its end": expires,
    "without a scope": lacks_a_scope,
    "changed on the way": tampered,
    "exchanged (RFC 8693)": on_behalf,
    "the gateway's own, at an upstream": with_its_own,
    "in exchange for the caller's, at an upstream": with_a_lent_one,
    "opaque: asked, revoked": introspected,
    "opaque: unknown, for another audience, without a scope": introspected_and_wrong,
    "opaque or signed, at one server": signed_or_asked,
    "the provider's keys change": keys_change,
    "the provider is away": provider_is_away,
}


def of_several_issuers(site: Site) -> str:
    """One server believes four issuers, each with a key of another kind; who is called the same by two of them is not one person."""
    seen = []
    for kind, (*_, algorithm) in KINDS.items():
        token = site.second.token(kind, site.gateway.url("several"))
        same((part(token, 0)["alg"], part(token, 1)["iss"]), (algorithm, site.second.issuer(kind)), "the token")
        same(site.gateway.accepts(token, "several", within=20)["principal"], "machine", "who called")
        seen.append(algorithm)
    site.gateway.accepts(site.fresh("eddsa", "several"), "several")
    site.gateway.refuses(site.second.token("rsa", site.gateway.url("revocable")), "several", 401, "it is for another audience")
    return " ".join(seen)


def introspected_by_another(site: Site):
    """It tells of signed tokens too, says neither `sub` nor `iss`, and forgets a token that is revoked."""
    token = site.second.token("rsa", site.gateway.url("revocable"))
    same(site.gateway.accepts(token, "revocable")["principal"], "machine", "who called")
    site.second.ask("/rsa/revoke", token=token)
    site.gateway.refused_at_last(token, "revocable", 10)


SECOND = {"JWTs of several issuers at one server": of_several_issuers, "asked, revoked": introspected_by_another}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--strait", default=str(ROOT / "target/release/strait"), help="the binary to try")
    options.add_argument("--only", default="", help="only checks whose name contains this")
    options.add_argument("--keep", action="store_true", help="leave the work folder, with its logs")
    chosen = options.parse_args()
    expect((CACHE / "stamp").exists(), "tests/peers/install has not run")
    os.environ["PATH"] = f"{NODE}:{os.environ['PATH']}"
    processes.bound(10)
    put_fixtures()
    shutil.copy(HERE / "clients/dance_ts.mjs", NPM)  # an ES module finds packages only beside itself
    tally, work, strait = Tally(), pathlib.Path(tempfile.mkdtemp(prefix="strait-identity-")), os.path.abspath(chosen.strait)
    with contextlib.ExitStack() as open_now:
        port = free_port()
        provider = Provider(work, default_resource=f"http://127.0.0.1:{port}{SERVERS['signed'][0]}")
        open_now.callback(lambda: provider.end())
        second = Glewlwyd(work, [f"http://127.0.0.1:{port}{SERVERS[name][0]}" for name in ("several", "revocable")])
        open_now.callback(second.end)
        gateway = Gateway(strait, work, port, provider.url, second)
        open_now.enter_context(gateway.running)
        site = Site(provider, second, gateway)
        parts = {"oidc-provider": TOKENS.items(), "glewlwyd": SECOND.items(), "dance": dance.checks()}
        for name, done in [(f"{part}: {what}", done) for part, of in parts.items() for what, done in of]:
            if chosen.only in name:
                tally.check(name, lambda: done(site))
    return tally.end(work, chosen.keep)


if __name__ == "__main__":
    sys.exit(main())
