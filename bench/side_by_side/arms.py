"""The arms of a comparison: how each proxy is configured, started, and reached.

Each arm forwards two routes, to an upstream with small and one with large replies. What is kept of a peer's
configuration is under bench/peers/, with @…@ for ports and folders.
"""

import contextlib
import dataclasses
import functools
import os
import pathlib
import pwd
import re
import shutil
import subprocess

from .loads import Request, exchange
from .processes import Broken, Process, free_ports

PEERS = pathlib.Path(__file__).parent.parent / "peers"
ROUTES = ("small", "large")
GOVERNED = "governed"  # Strait's own third: `small` again, with conditions and limits on; for bench/budgets


@dataclasses.dataclass
class Arm:
    """A way from the load to the upstream. `process` is None for the direct one."""

    name: str
    urls: dict[str, str]
    process: Process | None = None


@dataclasses.dataclass(frozen=True)
class Bench:
    """What all arms share."""

    strait: pathlib.Path
    floor: pathlib.Path
    folder: pathlib.Path
    core: int | None
    upstreams: dict[str, int]  # route to port

    def upstream(self, route: str) -> str:
        return f"127.0.0.1:{self.upstreams[route]}"


def direct(bench: Bench) -> Arm:
    return Arm("direct", {route: f"http://{bench.upstream(route)}/mcp" for route in ROUTES})


def nginx(bench: Bench) -> Arm:
    folder, listen, fields = _prepare(bench, "nginx")
    config = fill("nginx.conf", folder, fields | {"FOLDER": folder, "USER": user(), "BUFFERING": "on"})
    command = [program("nginx"), "-p", str(folder), "-e", str(folder / "nginx.log"), "-c", str(config)]
    return _forwarding("nginx", command, bench, folder, listen)


def haproxy(bench: Bench) -> Arm:
    folder, listen, fields = _prepare(bench, "haproxy")
    command = [program("haproxy"), "-db", "-f", str(fill("haproxy.cfg", folder, fields))]
    return _forwarding("haproxy", command, bench, folder, listen)


def floor(bench: Bench) -> Arm:
    folder, listen, fields = _prepare(bench, "floor")
    routes = [fields[f"{end}_{route.upper()}"] for route in ROUTES for end in ("LISTEN", "UPSTREAM")]
    return _forwarding("floor", [str(bench.floor), *routes], bench, folder, listen)


def strait(name: str, driver: str, *options: str, under: tuple[str, ...] = ()):
    """Strait on one worker and this driver, as `strait serve --driver` knows them; `under` a tool that watches it."""

    def start(bench: Bench) -> Arm:
        folder, _, fields = _prepare(bench, name)
        listen, admin = free_ports(2)
        (folder / "keys.yaml").write_bytes((bench.folder / "keys.yaml").read_bytes())
        fields |= {"LISTEN": f"127.0.0.1:{listen}", "ADMIN": f"127.0.0.1:{admin}"}
        config = fill("strait.yaml", folder, fields)
        command = [*under, str(bench.strait), "serve", str(config), "--state", str(folder / "state")]
        process = Process(name, [*command, "--workers", "1", "--driver", driver, *options], bench.core, folder)
        urls = {route: f"http://127.0.0.1:{listen}/{route}/mcp" for route in (*ROUTES, GOVERNED)}
        return Arm(name, urls, process)

    return start


# In the order of the tables. `direct` is what the others are compared with, so it is always among them.
ARMS = {
    "direct": direct,
    "floor": floor,
    "nginx": nginx,
    "haproxy": haproxy,
    "strait": strait("strait", "io_uring"),
    "strait-busy-poll": strait("strait-busy-poll", "io_uring", "--busy-poll", "100us"),
    "strait-plain-ring": strait("strait-plain-ring", "io_uring_plain"),
    "strait-epoll": strait("strait-epoll", "epoll"),
}


@contextlib.contextmanager
def started(names: list[str], bench: Bench, requests: dict[str, Request]):
    """All of them, each answering as the upstream itself does before it counts as started; ended with the block."""
    with contextlib.ExitStack() as ending:
        arms = []
        for name in names:
            arms.append(ARMS[name](bench))
            if arms[-1].process:
                ending.callback(arms[-1].process.end)
        for arm in arms:
            for route in ROUTES:
                check = functools.partial(exchange, arm.urls[route], requests[route])
                arm.process.wait_until(check) if arm.process else check()
        yield arms


def program(name: str) -> str:
    """Where a peer is installed; sbin is on nobody's PATH but root's."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if not found:
        packages = {"nginx": "nginx-light", "setpriv": "util-linux", "taskset": "util-linux"}
        raise Broken(f"`{name}` is not installed: apt-get install {packages.get(name, name)}")
    return found


def user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def new_key(strait: pathlib.Path, folder: pathlib.Path) -> str:
    command = [strait, "keys", "new", folder / "keys.yaml", "--id", "bench", "--groups", "staff", "--quiet"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def versions(strait: pathlib.Path) -> dict[str, str]:
    """What was measured, in its own words."""
    said = {}
    for name, flag in {"nginx": "-v", "haproxy": "-v"}.items():
        ran = subprocess.run([program(name), flag], capture_output=True, text=True)
        said[name] = (ran.stdout + ran.stderr).splitlines()[0]
    said["strait"] = subprocess.run([strait, "--version"], capture_output=True, text=True).stdout.strip()
    return said


def _prepare(bench: Bench, name: str):
    folder = bench.folder / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    listen = dict(zip(ROUTES, free_ports(len(ROUTES))))
    fields = {f"LISTEN_{route.upper()}": f"127.0.0.1:{port}" for route, port in listen.items()}
    fields |= {f"UPSTREAM_{route.upper()}": bench.upstream(route) for route in ROUTES}
    return folder, listen, fields


def _forwarding(name: str, command: list[str], bench: Bench, folder: pathlib.Path, listen: dict[str, int]) -> Arm:
    process = Process(name, command, bench.core, folder)
    return Arm(name, {route: f"http://127.0.0.1:{port}/mcp" for route, port in listen.items()}, process)


def fill(template: str, folder: pathlib.Path, fields: dict[str, object]) -> pathlib.Path:
    filled = folder / template
    text = (PEERS / template).read_text()
    filled.write_text(re.sub(r"@([A-Z_]+)@", lambda found: str(fields[found[1]]), text))
    return filled
