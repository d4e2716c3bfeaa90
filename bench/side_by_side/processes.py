"""Processes of a run: started on one core, read for what they cost, ended for certain.

CPU time comes from the kernel's clock of the whole process (`clock_getcpuclockid`): every thread of it, io_uring's
kernel-side workers among them, and those that have ended. What a network interrupt does on behalf of a process
is charged by the kernel to whoever runs at that moment, for all arms alike.
"""

import contextlib
import dataclasses
import os
import pathlib
import random
import signal
import socket
import subprocess
import time

START_WITHIN_S = 60  # under valgrind, on a busy machine, a start takes seconds
END_WITHIN_S = 10


class Broken(Exception):
    """Something of ours does not work; the text says what, and what to do."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a process had used up at one moment; subtract two for what a run cost."""

    cpu_ns: int
    waited_ns: int  # ready to run, but somebody else had the core
    switches_voluntary: int
    switches_involuntary: int

    def __sub__(self, earlier: "Cost") -> "Cost":
        return Cost(*(now - then for now, then in zip(dataclasses.astuple(self), dataclasses.astuple(earlier))))


class Process:
    """One program on one core, or on any. Its output goes to a file that is shown when it fails."""

    def __init__(self, name: str, command: list[str], core: int | str | None, folder: pathlib.Path):
        self.name = name
        self.output = folder / f"{name}.out"
        # Dies with us even if we are killed: nothing may stay behind on somebody's machine.
        bound = ["setpriv", "--pdeathsig", "TERM", *pinned(core), *command]
        with self.output.open("wb") as output:
            self.child = subprocess.Popen(
                bound, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=folder
            )

    def wait_until(self, is_ready) -> None:
        """Until `is_ready()` answers without an error; its last error is what the user reads otherwise."""
        deadline = time.monotonic() + START_WITHIN_S
        while True:
            if self.child.poll() is not None:
                raise Broken(f"{self.name} ended with {self.child.returncode}:\n{self.last_words()}")
            try:
                return is_ready()
            except (OSError, Broken) as error:
                if time.monotonic() > deadline:
                    raise Broken(f"{self.name} is not ready after {START_WITHIN_S} s: {error}\n{self.last_words()}")
            time.sleep(0.02)

    def cost(self) -> Cost:
        """Of this process and, for programs with a master, its children."""
        costs = [_cost(pid) for pid in self._pids()]
        return Cost(*(sum(column) for column in zip(*map(dataclasses.astuple, costs))))

    def rss_kib(self) -> int:
        return sum(_number(f"/proc/{pid}/status", "VmRSS:") for pid in self._pids())

    def end(self, within_s: float = END_WITHIN_S) -> None:
        if self.child.poll() is not None:
            return
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(within_s)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()

    def _pids(self) -> list[int]:
        pid = self.child.pid
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def last_words(self) -> str:
        return self.output.read_text(errors="replace")[-2000:]


def _cost(pid: int) -> Cost:
    # The process clock of `pid` as clock_getcpuclockid(3) makes it: CPUCLOCK_SCHED (2), not per thread.
    cpu_ns = time.clock_gettime_ns((~pid << 3) | 2)
    waited = voluntary = involuntary = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            waited += int((task / "schedstat").read_text().split()[1])
            voluntary += _number(task / "status", "voluntary_ctxt_switches:")
            involuntary += _number(task / "status", "nonvoluntary_ctxt_switches:")
        except (FileNotFoundError, ProcessLookupError):
            pass  # ended just now
    return Cost(cpu_ns, waited, voluntary, involuntary)


def _number(path, key: str) -> int:
    for line in pathlib.Path(path).read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1])
    raise Broken(f"{path} has no `{key}`")


def pinned(core: int | str | None) -> list[str]:
    return [] if core is None else ["taskset", "--cpu-list", str(core)]


def free_ports(count: int) -> list[int]:
    """Ports that nobody has right now, all different. Below those that the kernel gives to connections: between our look and
    the start of a proxy, another program's connection must not take one."""
    lowest = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports: list[int] = []
    for port in random.sample(range(10_000, lowest), min(2_000, lowest - 10_000)):
        if len(ports) == count:
            break
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.append(port)
    if len(ports) < count:
        raise Broken(f"no {count} free ports between 10000 and {lowest}")
    return ports


def cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))
