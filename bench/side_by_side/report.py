"""What a run is told as: a table for a person, Markdown for docs/PERFORMANCE.md, raw samples for whoever doubts them."""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import re
import subprocess
import sys

from . import arms, loads
from .figures import Figures, Reading, Sample, Spread, Target, gateway_targets, targets

# Where in docs/PERFORMANCE.md a run is told: beside proxies, beside gateways, against the goals.
BLOCKS = {
    "goals": ("<!-- figures: written by bench/goals --write -->", "<!-- end of the goals' figures -->"),
    "proxies": ("<!-- figures: written by bench/side-by-side --write -->", "<!-- end of figures -->"),
    "gateways": ("<!-- figures: written by bench/side-by-side --gateways --write -->", "<!-- end of gateways' figures -->"),
}


def progress(sample: Sample, rounds: int) -> None:
    if not sys.stderr.isatty() and sample.is_valid:
        return
    cpu = "" if sample.cpu_us is None else f"{sample.cpu_us:7.1f} us CPU"
    errors = "" if sample.is_valid else f"   INVALID: {sample.wrong}"
    print(
        f"round {sample.round}/{rounds}  {sample.workload:8} {sample.arm:18} p50 {sample.p50_us or 0:7.1f} us {cpu}{errors}",
        file=sys.stderr,
    )


@dataclasses.dataclass
class Run:
    """One run, from before its first round."""

    root: pathlib.Path
    workloads: list[loads.Workload]
    arm_names: list[str]
    facts: dict[str, str]
    beside: str = "proxies"
    missing: dict[str, str] = dataclasses.field(default_factory=dict)
    samples: list[Sample] = dataclasses.field(default_factory=list)

    @classmethod
    def begin(cls, root: pathlib.Path, options: argparse.Namespace, said: dict[str, str], pinned: tuple[int, int]) -> "Run":
        requests = "; ".join(f"{w.name}: {w.requests or f'for {loads.GATEWAY_SECONDS} s'}" for w in options.workloads)
        mine = {
            "requests": f"{requests} per arm and round",
            "load by": "wrk" if options.generator == "wrk" else "strait load --closed",
        }
        facts = facts_at_start(root, "bench/side-by-side", options, mine, said, pinned)
        return cls(root, options.workloads, options.arms, facts, "gateways" if options.gateways else "proxies")

    def end(self, samples: list[Sample]) -> None:
        self.facts["load average at the end"] = load_average()
        self.samples = samples

    def text(self) -> str:
        """For a terminal: the Markdown is plain enough."""
        facts = "\n".join(f"{name + ':':28}{value}" for name, value in self.facts.items())
        return f"{facts}\n\n{self._tables()}"

    def write(self) -> None:
        keep(self.root, self.beside, self.facts, self.samples, self._tables())

    def _tables(self) -> str:
        figures = Figures(self.samples)
        parts = []
        for workload in self.workloads:
            parts += [f"### {workload.title}\n", self._latency(figures, workload.name), self._cost(figures, workload.name)]
        wanted = targets(figures) if self.beside == "proxies" else gateway_targets(figures)
        parts += ["### Against the targets\n", verdicts(wanted), invalid(figures.invalid)]
        parts += [f"Not measured: `{name}`: {why}\n" for name, why in self.missing.items()]
        return "\n".join(part for part in parts if part)

    def _latency(self, figures: Figures, workload: str) -> str:
        rows = []
        for arm in self.arm_names:
            of = lambda field: figures.of(workload, arm, field)
            added = figures.added_spread(workload, arm, "p50_us") if arm != "direct" else None
            ratio = figures.added_ratio(workload, arm, "nginx", "p50_us") if arm not in ("direct", "nginx") else None
            rows.append([
                arm, shown(of("p50_us"), 1), shown(of("p90_us"), 1), shown(of("p99_us"), 1),
                shown(added, 1), shown(ratio, 2), shown(of("per_second"), 0),
            ])
        return table(["arm", "p50 µs", "p90 µs", "p99 µs", "added p50 µs", "added p50 to nginx's", "per second"], rows)

    def _cost(self, figures: Figures, workload: str) -> str:
        rows = []
        for arm in self.arm_names:
            if arm == "direct":
                continue
            of = lambda field: figures.of(workload, arm, field)
            to = lambda other: None if arm == other else figures.ratio(workload, arm, other, "cpu_us")
            rows.append([
                arm, shown(of("cpu_us"), 1), shown(to("nginx"), 2), shown(to("floor"), 2),
                shown(of("waited_us"), 1), shown(of("switches_voluntary"), 2), shown(of("switches_involuntary"), 2),
                shown(of("rss_kib"), 0),
            ])
        names = ["arm", "CPU µs per request", "CPU to nginx", "CPU to floor", "waited µs", "switches", "preempted", "RSS KiB"]
        return table(names, rows)


def facts_at_start(root: pathlib.Path, tool: str, options: argparse.Namespace, mine: dict, said: dict, pinned: tuple[int, int]) -> dict:
    """What a reader has to know of a run; `mine` is what the tool adds, `said` the versions of what it measures."""
    git = lambda *words: subprocess.run(["git", *words], cwd=root, capture_output=True, text=True).stdout.strip()
    # A binary that is given need not be of this tree.
    given = options.strait and datetime.datetime.fromtimestamp(options.strait.stat().st_mtime, datetime.UTC)
    binary = {"binary": f"given, of {given:%Y-%m-%d %H:%M UTC}"} if given else {"profile": options.profile}
    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": git("rev-parse", "--short=12", "HEAD") + changed,
        # Where a binary lies is nobody's business.
        "command": " ".join([tool, *("BIN" if "/" in word else word for word in sys.argv[1:])]),
        **binary,
        "rounds": str(options.rounds),
        "seed": str(options.seed),
        **mine,
        "machine": _machine(),
        "kernel": f"Linux {platform.release()}",
        "cores": f"proxy on {pinned[0]}, load and upstream on {pinned[1]}",
        "rustc": subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.strip(),
        **said,
        "load average at the start": load_average(),
    }


def keep(root: pathlib.Path, beside: str, facts: dict[str, str], samples: list, tables: str) -> None:
    """Raw samples first, then the generated block of the document."""
    commit = facts["commit"].split()[0]
    suffix = "" if beside == "proxies" else f"-{beside}"
    folder = root / "bench" / "baselines" / f"{facts['date'][:10]}-{commit}{suffix}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(facts, indent=2) + "\n")
    lines = (json.dumps(dataclasses.asdict(sample)) for sample in samples)
    (folder / "samples.jsonl").write_text("".join(f"{line}\n" for line in lines))
    document = root / "docs" / "PERFORMANCE.md"
    begin, end = BLOCKS[beside]
    before, found, rest = document.read_text().partition(begin)
    if not found:
        raise ValueError(f"{document} has no line `{begin}`")
    listed = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    raw = f"Raw samples: `{folder.relative_to(root)}/`."
    block = f"{begin}\n\n{listed}\n\n{raw}\n\n{tables}\n{end}"
    document.write_text(before + block + rest.partition(end)[2])
    print(f"wrote {folder.relative_to(root)} and docs/PERFORMANCE.md", file=sys.stderr)


def verdicts(all_targets: list[Target]) -> str:
    rows = []
    for target in all_targets:
        found = target.found
        low = found and (found if target.above is None else target.above).low
        interval = "-" if low is None else f"{low:.2f} to {found.high:.2f}"
        rows.append([target.what, target.asked, shown(found, 2), interval, target.verdict])
    return table(["what", "target", "median [quartiles]", "interval of the median, >= 90 %", "verdict"], rows)


def invalid(samples: list[Sample] | list[Reading]) -> str:
    if not samples:
        return "Every round was valid: no request failed.\n"
    rows = [[str(s.round), s.workload, s.arm, s.wrong] for s in samples]
    return "Invalid rounds, left out of every figure above:\n\n" + table(["round", "workload", "arm", "why"], rows)


def shown(found: Spread | None, digits: int) -> str:
    if found is None:
        return "-"
    number = lambda value: f"{value:,.{digits}f}"
    return f"{number(found.median)} [{number(found.low_quartile)}, {number(found.high_quartile)}]"


def table(names: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in [names, *rows]) for column in range(len(names))]
    # The first column is text, the others are figures.
    line = lambda cells: "| " + " | ".join(
        cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(zip(cells, widths))
    ) + " |"
    rule = "|" + "|".join("-" * (width + 2) if column == 0 else "-" * (width + 1) + ":" for column, width in enumerate(widths)) + "|"
    return "\n".join([line(names), rule, *map(line, rows)]) + "\n"


def _machine() -> str:
    text = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    virtual = "virtual, " if re.search(r"^flags.*\bhypervisor\b", text, re.MULTILINE) else ""
    return f"{virtual}{os.cpu_count()} cores, {model[1] if model else platform.machine()}"


def load_average() -> str:
    return pathlib.Path("/proc/loadavg").read_text().split(" ")[0]
