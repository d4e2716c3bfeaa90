"""The rows: what each asks, what measures it, and which of its figures are shown."""

import dataclasses
from collections.abc import Callable

from side_by_side.figures import Figures, Target

from . import crowds, loaded, rest, streams
from .ground import EVERYTHING, Ground


@dataclasses.dataclass(frozen=True)
class Row:
    """`part` does one round of it, and of the rows that share the part; `columns` are fields of its samples, with titles and digits."""

    name: str
    title: str
    part: Callable[[Ground, int, set[str]], None]
    columns: dict[str, tuple[str, int]]
    targets: Callable[[Figures], list[Target]]


CPU = {"cpu_us": ("CPU µs per request", 1), "waited_us": ("waited µs", 1), "per_second": ("per second", 0), "rss_kib": ("RSS KiB", 0)}


def residence(figures: Figures) -> list[Target]:
    of = lambda field: figures.of("residence", EVERYTHING, field)
    return [
        Target(f"residence at half capacity, {point}: the end of its bucket", limit, of(f"{point}_at_most_us"), unit=" µs", above=of(f"{point}_above_us"))
        for point, limit in (("p99", 60), ("p50", 12))
    ]


def added_p99(figures: Figures) -> list[Target]:
    ratio = figures.added_ratio("added-p99", EVERYTHING, "nginx", "p99_us")
    return [Target("added p99 at half capacity, open loop, to nginx's", 0.8, ratio)]


def large(figures: Figures) -> list[Target]:
    # Requests per CPU second are one over CPU per request.
    ratio = figures.ratio("large", "nginx", EVERYTHING, "cpu_us")
    return [Target("requests per CPU second, 16 KiB both ways, to nginx's", 1.0, ratio, at_least=True)]


def sse(figures: Figures) -> list[Target]:
    ratio = figures.ratio("sse", EVERYTHING, "nginx", "added_us")
    return [Target("added delay per event, p50 of pairs, to nginx's without buffering", 1.0, ratio)]


def idle_connection(figures: Figures) -> list[Target]:
    return [Target("RSS of an idle client connection", 4, figures.of("idle-connection", "crowded", "kib"), unit=" KiB")]


def connections(figures: Figures) -> list[Target]:
    ratio = figures.ratio("connections", "crowded", "alone", "cpu_us")
    return [Target("CPU per request of 200 busy connections, among 10,000 to alone", 1.1, ratio)]


def workers(figures: Figures) -> list[Target]:
    ratio = lambda arm: figures.ratio("workers", arm, "one", "cpu_us")
    return [
        Target("CPU per request, two workers on two cores to one", 1.1, ratio("two")),
        Target("the same, both on one core", 1.1, ratio("two-on-one-core")),
    ]


def idle(figures: Figures) -> list[Target]:
    of = lambda field: figures.of("idle", "all of it", field)
    return [
        Target("wake-ups that no timer made", 0, of("others"), unit=" per second"),
        Target("RSS", 24, of("rss_mib"), unit=" MiB"),
    ]


ROWS = (
    Row("residence", "Residence at half capacity", loaded.half_capacity, {
        "p50_above_us": ("p50 over µs", 1), "p50_at_most_us": ("p50 at most µs", 1), "p99_above_us": ("p99 over µs", 1),
        "p99_at_most_us": ("p99 at most µs", 1), "rate": ("requests per second", 0), "core_share": ("of its core", 2),
    }, residence),
    Row("added-p99", "Added p99 at half capacity, open loop", loaded.half_capacity, {
        "p50_us": ("p50 µs", 1), "p99_us": ("p99 µs", 1), "rate": ("requests per second", 0), "core_share": ("of its core", 2),
    }, added_p99),
    Row("large", "16 KiB both ways, 16 connections", loaded.large, CPU, large),
    Row("sse", "Events of a stream", streams.sse, {
        "event_us": ("event, p50 µs", 1), "added_us": ("added, p50 of pairs µs", 1), "added_p90_us": ("p90 of pairs µs", 1),
    }, sse),
    Row("idle-connection", "An idle client connection", crowds.crowd, {
        "kib": ("KiB each", 2), "connections": ("connections", 0), "before_mib": ("RSS before, MiB", 1), "after_mib": ("RSS with them, MiB", 1),
    }, idle_connection),
    Row("connections", "200 busy connections, alone and among 10,000", crowds.crowd, CPU, connections),
    Row("workers", "One worker and two, 64 connections", loaded.workers, CPU, workers),
    Row("idle", "A gateway with nothing to do", rest.idle, {
        "wakeups": ("wake-ups per second", 1), "timers": ("by timers, under strace", 1), "others": ("by others, under strace", 1),
        "rss_mib": ("RSS MiB", 1), "anonymous_mib": ("its own, MiB", 1), "huge_mib": ("of these huge pages, MiB", 1), "files_mib": ("of files, MiB", 1),
    }, idle),
)
# What another command measures: these are not measured twice.
ELSEWHERE = {
    "nginx": "CPU per request at 16 connections, to nginx",
    "relay": "CPU per request at 16 connections, to a relay that copies bytes",
    "peer": "CPU per request, to the fastest that reads MCP",
    "one-connection": "added p50 at 1 connection, to nginx's",
}
ELSEWHERE_BY = "bench/side-by-side --gateways"
