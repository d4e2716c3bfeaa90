"""Rows that load gateways: residence and added p99 at half capacity, large bodies, two workers."""

import contextlib
import math
import re
import urllib.request

from side_by_side import gateways
from side_by_side.loads import Workload

from .ground import EVERYTHING, Ground

HALF = Workload("added-p99", "open loop at half capacity", "tiny", 16, 0, "legacy")
# An open loop takes what connections it needs; these are the most.
OPEN_CONNECTIONS = 64
LARGE = Workload("large", "16 KiB both ways, 16 connections", "large", 16, 0, "legacy")
WORKERS = Workload("workers", "64 connections", "tiny", 64, 0, "legacy")


def half_capacity(ground: Ground, number: int, wanted: set[str]) -> None:
    """Capacity is what the gateway takes in a closed loop in this round; all arms get half of that, at times that a plan gives."""
    with contextlib.ExitStack() as in_round:
        names = ["direct", "nginx", EVERYTHING] if "added-p99" in wanted else [EVERYTHING]
        started = {name: ground.gateway(name, HALF.route, in_round) for name in names}
        rate = ground.load.run(started[EVERYTHING], HALF, ground.seconds(1)).per_second / 2
        for name in ground.shuffled(names):
            one_arm_at(ground, number, started[name], rate, wanted)


def one_arm_at(ground: Ground, number: int, gateway: gateways.Gateway, rate: float, wanted: set[str]) -> None:
    workload = Workload(HALF.name, HALF.title, HALF.route, OPEN_CONNECTIONS, 0, HALF.era)
    before = scraped(gateway.metrics) if gateway.metrics else None
    cost = gateway.process and gateway.process.cost()
    seconds = ground.seconds(2)
    plan = ["--rate", f"{rate:.0f}", "--duration", f"{seconds}s", "--warmup", "300ms"]
    told = ground.load.ask(gateway, workload, *plan)
    if told["self_saturated"]:
        wrong = f"self-saturated: {told['saturation'][0]}"
    else:
        wrong = f"{told['failed']} failed" if told["failed"] else ""
    busy = cost and (gateway.process.cost() - cost).cpu_ns / 1e9 / (seconds + 0.3)
    if "added-p99" in wanted:
        latency = told["latency_ns"]
        micros = {f"{point}_us": latency[point] and latency[point] / 1_000 for point in ("p50", "p99")}
        ground.found(number, "added-p99", gateway.name, wrong, **micros, rate=rate, core_share=busy)
    if before and "residence" in wanted:
        counts = {edge: count - before.get(edge, 0) for edge, count in scraped(gateway.metrics).items()}
        bounds = {f"p{point}": bucket(counts, point / 100) for point in (50, 99)}
        values = {f"{point}_{end}": bound[place] for point, bound in bounds.items() for place, end in enumerate(("above_us", "at_most_us"))}
        ground.found(number, "residence", gateway.name, wrong, **values, rate=rate, core_share=busy)


BUCKET = re.compile(r'^strait_gateway_added_seconds_bucket\{le="([^"]+)"\} (\d+)', re.MULTILINE)


def scraped(url: str) -> dict[float, int]:
    """How many calls the gateway had for no longer than each edge, in microseconds."""
    with urllib.request.urlopen(url, timeout=10) as page:
        return {float(edge) * 1e6: int(count) for edge, count in BUCKET.findall(page.read().decode())}


def bucket(at_most: dict[float, int], share: float) -> tuple[float, float]:
    """Between which edges the percentile lies."""
    edges = sorted(at_most)
    rank = math.ceil(share * at_most[edges[-1]])
    place = next(place for place, edge in enumerate(edges) if at_most[edge] >= max(rank, 1))
    return (edges[place - 1] if place else 0.0), edges[place]


def large(ground: Ground, number: int, _: set[str]) -> None:
    with contextlib.ExitStack() as in_round:
        started = [ground.gateway(name, LARGE.route, in_round) for name in ("nginx", EVERYTHING)]
        for gateway in ground.shuffled(started):
            ground.cost(number, LARGE, gateway, 1.5)


def workers(ground: Ground, number: int, _: set[str]) -> None:
    """One worker on its core; two with a core each, of which one is the load's as well: what workers share, lines of cache above all,
    costs only between cores. Two on one core stand beside it: they share that core's caches, and take turns."""
    both = f"{ground.proxy_core},{ground.load_core}"
    arms = {"one": (1, None), "two": (2, both), "two-on-one-core": (2, None)}
    with contextlib.ExitStack() as in_round:
        started = []
        for name, (count, cores) in arms.items():
            start = gateways.strait(name, gateways.EVERYTHING, count)
            started.append(ground.gateway(name, WORKERS.route, in_round, start, cores))
        for gateway in ground.shuffled(started):
            ground.cost(number, WORKERS, gateway, 1.5)
