"""Child processes with deadlines: nothing that these tests start may keep them waiting for ever, or outlive them."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from typing import NamedTuple


class Done(NamedTuple):
    status: int
    out: str
    err: str


def run(command: list[str], seconds: float, given: bytes = b"", **more) -> Done:
    """Runs a command to its end. It leads a group of processes, and the whole group is gone afterwards: what a killed
    command has started would hold its pipes open, and whoever reads them would wait."""
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **more)
    try:
        out, err = child.communicate(given, timeout=seconds)
    except subprocess.TimeoutExpired:
        end_group(child)
        out, err = child.communicate(timeout=10)
        said = (out + err).decode(errors="replace")[-1500:]
        raise TimeoutError(f"{os.path.basename(command[0])} had not ended after {seconds:.0f} s: {said}") from None
    finally:
        end_group(child)
    return Done(child.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


def end_group(leader: subprocess.Popen):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)
    leader.wait(10)


def stop(child: subprocess.Popen, sign: int = signal.SIGTERM, seconds: float = 20) -> int:
    if child.poll() is None:
        child.send_signal(sign)
    try:
        return child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait(10)
        raise


def wait_for(what: str, seconds: float, ready, every: float = 0.05) -> object:
    until = time.monotonic() + seconds
    while True:
        if found := ready():
            return found
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(every)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def bound(minutes: float):
    """The whole run ends in this time, and what it started with it: SIGTERM and the alarm let every `finally` run."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"the whole run had not ended after {minutes:.0f} minutes"))
    signal.alarm(int(minutes * 60))
