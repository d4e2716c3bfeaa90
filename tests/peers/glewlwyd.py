"""Debian's `glewlwyd`, a provider in C, with a database and settings of its own: set up over its own administration as a person would.
`identity.py` runs it. Each of its OpenID plugins is an issuer with a path, and a key of another kind."""

import base64
import gzip
import json
import pathlib
import sqlite3
import urllib.error
import urllib.parse
import urllib.request

import processes
from conformance import Running
from processes import free_port
from run import expect

KINDS = {  # plugin -> its `jwt-type`, size, what makes its key, the algorithm that must come of it
    "rsa": ("rsa", "256", ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], "RS256"),
    "pss": ("rsa-pss", "512", ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], "PS512"),
    "ecdsa": ("ecdsa", "256", ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "ES256"),
}
PASSWORD = "of-a-machine-for-tests"  # it takes HTTP basic as it comes: what RFC 6749 (2.3.1) has encoded it does not decode
SCHEMA = [pathlib.Path("/usr/share/doc/glewlwyd/database/init.sqlite3.sql.gz"), pathlib.Path("/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3")]
MODULES = pathlib.Path("/usr/lib/glewlwyd")


class Glewlwyd:
    def __init__(self, home: pathlib.Path, resources: list[str]):
        self.home, self.port = home, free_port()
        self.api = f"http://127.0.0.1:{self.port}/api"
        schema = next(file for file in SCHEMA if file.exists())
        with sqlite3.connect(home / "glewlwyd.db") as database:
            database.executescript((gzip.decompress(schema.read_bytes()) if schema.suffix == ".gz" else schema.read_bytes()).decode())
        settings = {
            "bind_address": "127.0.0.1", "external_url": f"http://127.0.0.1:{self.port}", "login_url": "login.html", "api_prefix": "api",
            "log_mode": "console", "log_level": "INFO", "cookie_same_site": "empty", "session_key": "GLEWLWYD2_SESSION_ID",
            "admin_scope": "g_admin", "profile_scope": "g_profile", "hash_algorithm": "SHA512", "user_module_path": f"{MODULES}/user",
            "user_middleware_module_path": f"{MODULES}/user_middleware", "client_module_path": f"{MODULES}/client",
            "user_auth_scheme_module_path": f"{MODULES}/scheme", "plugin_module_path": f"{MODULES}/plugin",
        }
        (home / "glewlwyd.conf").write_text(
            f"port={self.port}\ncookie_secure=0\nsession_expiration=3600\n" + "".join(f"{key}={json.dumps(value)}\n" for key, value in settings.items())
            + f'database = {{ type = "sqlite3"\n path = "{home}/glewlwyd.db" }};\n')
        self.running = Running(["glewlwyd", f"--config-file={home}/glewlwyd.conf"], self.port, home, "glewlwyd")
        try:
            self.set_up(resources)
        except BaseException:
            self.end()
            raise

    def end(self):
        processes.stop(self.running.child)

    def issuer(self, kind: str) -> str:
        return f"{self.api}/{kind}"

    def set_up(self, resources: list[str]):
        admin = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())

        def tell(path: str, body: dict):
            request = urllib.request.Request(self.api + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
            try:
                admin.open(request, timeout=20).close()
            except urllib.error.HTTPError as error:
                raise AssertionError(f"glewlwyd {path}: {error.code} {error.read().decode()[:500]}") from None

        tell("/auth/", {"username": "admin", "password": "password"})  # those that its schema comes with
        tell("/scope/", {"name": "mcp", "display_name": "mcp", "password_required": False})
        for kind, (jwt_type, size, make, _) in KINDS.items():
            key, public = self.home / f"{kind}.key", self.home / f"{kind}.pem"
            for command in (["openssl", "genpkey", *make, "-out", str(key)], ["openssl", "pkey", "-in", str(key), "-pubout", "-out", str(public)]):
                done = processes.run(command, 60)
                expect(done.status == 0, f"{' '.join(command)}: {done.err}")
            tell("/mod/plugin/", {"module": "oidc", "name": kind, "display_name": kind, "enabled": True, "parameters": {
                "iss": self.issuer(kind), "jwt-type": jwt_type, "jwt-key-size": size, "key": key.read_text(), "cert": public.read_text(),
                "access-token-duration": 600, "refresh-token-duration": 3600, "code-duration": 600, "refresh-token-rolling": True,
                "allow-non-oidc": True, "auth-type-code-enabled": True, "auth-type-token-enabled": True, "auth-type-id-token-enabled": True,
                "auth-type-none-enabled": True, "auth-type-password-enabled": True, "auth-type-client-enabled": True,
                "auth-type-refresh-enabled": True, "jwks-show": True, "resource-allowed": True, "resource-scope": {"mcp": resources},
                "resource-client-property": "", "resource-scope-and-client-property": False, "resource-change-allowed": False,
                "introspection-revocation-allowed": True, "introspection-revocation-allow-target-client": True,
            }})
        methods = ["client_secret_basic", "client_secret_post"]
        tell("/client/", {"client_id": "machine", "client_secret": PASSWORD, "name": "machine", "confidential": True, "enabled": True,
                          "token_endpoint_auth_method": methods, "authorization_type": ["client_credentials"], "scope": ["mcp"], "redirect_uri": []})

    def ask(self, path: str, **form) -> dict:
        given = base64.b64encode(f"machine:{PASSWORD}".encode()).decode()
        request = urllib.request.Request(self.api + path, urllib.parse.urlencode(form).encode(), {"Authorization": f"Basic {given}"})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return json.loads(answer.read() or "{}")
        except urllib.error.HTTPError as error:
            raise AssertionError(f"glewlwyd {path}: {error.code} {error.read().decode()[:500]}") from None

    def token(self, kind: str, resource: str) -> str:
        return self.ask(f"/{kind}/token", grant_type="client_credentials", scope="mcp", resource=resource)["access_token"]
