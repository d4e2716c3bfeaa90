"""The row about a gateway that has nothing to do: how often it wakes up, for what, and what it keeps in memory."""

import contextlib
import pathlib
import re
import shutil
import subprocess
import time

from .ground import EVERYTHING, Ground

SETTLE_SECONDS = 2.0
COUNT_SECONDS = 4.0
WATCH_SECONDS = 2.0
# What took longer than this under strace was waiting, not a look whether there is something.
WAITED_SECONDS = 0.000_05
WAITS = "io_uring_enter,epoll_wait,epoll_pwait,epoll_pwait2,futex,clock_nanosleep,nanosleep,ppoll,poll,read"


def idle(ground: Ground, number: int, _: set[str]) -> None:
    with contextlib.ExitStack() as in_round:
        gateway = ground.gateway(EVERYTHING, "tiny", in_round)
        pid = gateway.process.child.pid
        time.sleep(ground.seconds(SETTLE_SECONDS))
        before, began = switches(pid), time.monotonic()
        time.sleep(ground.seconds(COUNT_SECONDS))
        after, lasted = switches(pid), time.monotonic() - began
        told = causes(pid, ground.seconds(WATCH_SECONDS))
        # One that came or went meanwhile has no difference of its own.
        per_second = {task: (after[task][1] - before[task][1]) / lasted for task in before.keys() & after.keys()}
        for task, count in per_second.items():
            name = after[task][0]
            if count:
                timers, others = told.get(task, (None, None)) if told is not None else (None, None)
                ground.found(number, "idle", name, wakeups=count, timers=timers, others=others)
        memory = smaps(pid)
        others = None if told is None else sum(others for _, others in told.values())
        timers = None if told is None else sum(timers for timers, _ in told.values())
        ground.found(number, "idle", "all of it", wakeups=sum(per_second.values()), timers=timers, others=others, **memory)


def switches(pid: int) -> dict[int, tuple[str, int]]:
    """Of each thread: its name, and how often it went to sleep."""
    found = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            text = (task / "status").read_text()
            count = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE)[1]
            name = (task / "comm").read_text().strip()
            # The kernel's own threads of a ring have a number in their names.
            found[int(task.name)] = (re.sub(r"^iou-.*", "io_uring's own", name), int(count))
    return found


def smaps(pid: int) -> dict[str, float]:
    """MiB in memory: all, what is of files (the program itself, mostly), the rest, which is the gateway's own, and what of that is huge
    pages: of those all 2 MiB count once one byte is touched."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    of = lambda key: int(re.search(rf"^{key}:\s+(\d+)", text, re.MULTILINE)[1]) / 1024
    return {"rss_mib": of("Rss"), "anonymous_mib": of("Anonymous"), "files_mib": of("Rss") - of("Anonymous"), "huge_mib": of("AnonHugePages")}


LINE = re.compile(r"^(\d+) (?:<\.\.\. )?(\w+)(?: resumed>|\().*? = (-?\d+|\?)(?: (\w+))?.*<([\d.]+)>$")


def causes(pid: int, seconds: float) -> dict[int, tuple[float, float]] | None:
    """Of each thread, how many waits a second ended with a timer and how many with something else, by strace; None without it."""
    strace = shutil.which("strace")
    if not strace:
        return None
    command = ["timeout", f"{seconds}", strace, "-f", "-qq", "-T", "-e", f"trace={WAITS},write", "-e", "signal=none", "-p", str(pid)]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode != 124:  # timeout's own: strace watched until it was ended. Else it may not watch here
        return None
    counts: dict[int, list[int]] = {}
    rang: set[int] = set()
    for line in ran.stderr.splitlines():
        line = line.removeprefix("[pid ").replace("] ", " ", 1).strip() if line.startswith("[pid") else line
        seen = LINE.match(line)
        if not seen:
            continue
        task, call, answer, error = int(seen[1]), seen[2], seen[3], seen[4]
        if call == "write":
            rang.add(task)
            continue
        # A thread that rang at its own door has not slept, however long strace took over that.
        rang_itself = task in rang
        rang.discard(task)
        if float(seen[5]) < WAITED_SECONDS or (rang_itself and answer == "1" and call.startswith("epoll")):
            continue
        is_timer = error in ("ETIME", "ETIMEDOUT") or (answer == "0" and call not in ("futex", "read", "io_uring_enter"))
        counts.setdefault(task, [0, 0])[0 if is_timer else 1] += 1
    return {task: (timers / seconds, others / seconds) for task, (timers, others) in counts.items()}
