"""What every comparison does: it finds its programs and cores, and measures one arm under one load."""

import argparse
import pathlib

from .build import build
from .figures import Sample
from .processes import Broken, Process, cores


def programs(options: argparse.Namespace) -> list[pathlib.Path]:
    """Strait and the floor; the floor lies beside a binary that is given."""
    if options.strait:
        strait = options.strait.resolve()
        return [strait, strait.with_name("floor")]
    return build(options.profile, "strait", "floor")


def sample(number: int, workload: str, arm: str, process: Process | None, warm, load) -> Sample:
    """Warms the arm up, then measures it. The proxy's clocks are read right before and right after the load."""
    warm()
    before = process and process.cost()
    sent = load()
    told = {field: getattr(sent, field) for field in ("errors", "per_second", "p50_us", "p90_us", "p99_us")}
    if process:
        cost = process.cost() - before
        told |= {
            "cpu_us": cost.cpu_ns / 1_000 / sent.handled,
            "waited_us": cost.waited_ns / 1_000 / sent.handled,
            "switches_voluntary": cost.switches_voluntary / sent.handled,
            "switches_involuntary": cost.switches_involuntary / sent.handled,
            "rss_kib": process.rss_kib(),
        }
    return Sample(number, workload, arm, **told)


def chosen_cores(wanted: str | None) -> tuple[int, int]:
    allowed = cores()
    proxy, load = map(int, wanted.split(",")) if wanted else (allowed[-1], allowed[0])
    if proxy == load or {proxy, load} - set(allowed):
        raise Broken(f"needs two cores of {allowed}: one for the proxy, one for load and upstream")
    return proxy, load
