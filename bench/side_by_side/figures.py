"""From samples to figures: medians, spreads, ratios within a round, and verdicts that respect them.

Two arms are compared only within a round, where they met the same machine at nearly the same time: the ratio is taken
first, its median over the rounds second. A verdict rests on the interval that holds the median with at
least 90 % confidence whatever the distribution is (order statistics; with seven rounds: smallest to largest).
"""

import dataclasses
import math
import statistics

CONFIDENCE_MIN = 0.90


@dataclasses.dataclass(frozen=True)
class Sample:
    """One workload over one arm in one round."""

    round: int
    workload: str
    arm: str
    errors: int
    per_second: float
    p50_us: float | None  # None: too few samples for this percentile
    p90_us: float | None
    p99_us: float | None
    cpu_us: float | None = None  # this and the following are per request, of the proxy; the direct arm has none
    waited_us: float | None = None
    switches_voluntary: float | None = None
    switches_involuntary: float | None = None
    rss_kib: int | None = None

    @property
    def is_valid(self) -> bool:
        return self.errors == 0

    @property
    def wrong(self) -> str:
        return "" if self.is_valid else f"{self.errors} errors"

    def value(self, field: str) -> float | None:
        return getattr(self, field)


@dataclasses.dataclass(frozen=True)
class Reading:
    """What one row of the goals (`bench/goals`) found over one arm in one round; its fields are the row's own."""

    round: int
    workload: str  # the row
    arm: str
    values: dict[str, float | None]
    wrong: str = ""  # why it does not count

    @property
    def is_valid(self) -> bool:
        return not self.wrong

    def value(self, field: str) -> float | None:
        return self.values.get(field)


@dataclasses.dataclass(frozen=True)
class Spread:
    """A median over rounds with its quartiles and the interval that holds it."""

    median: float
    low_quartile: float
    high_quartile: float
    low: float | None  # None when there are too few rounds for the confidence asked
    high: float | None
    rounds: int


def spread(values: list[float]) -> Spread | None:
    if not values:
        return None
    ordered = sorted(values)
    low_quartile, _, high_quartile = statistics.quantiles(ordered, method="inclusive") if len(ordered) > 1 else ordered * 3
    inner = _rank(len(ordered))
    low, high = (None, None) if inner is None else (ordered[inner], ordered[-1 - inner])
    return Spread(statistics.median(ordered), low_quartile, high_quartile, low, high, len(ordered))


def _rank(count: int) -> int | None:
    """How many values may be left out at each end so that the rest still holds the median."""
    outside, rank = 0.0, None
    for leave in range(count // 2):
        outside += math.comb(count, leave) / 2**count
        if 1 - 2 * outside < CONFIDENCE_MIN:
            break
        rank = leave
    return rank


class Figures:
    """Valid samples by workload, arm and round."""

    def __init__(self, samples: "list[Sample] | list[Reading]"):
        self.invalid = [sample for sample in samples if not sample.is_valid]
        self._samples = {(s.workload, s.arm, s.round): s for s in samples if s.is_valid}
        self._rounds = sorted({sample.round for sample in samples})

    def arms(self, workload: str) -> list[str]:
        """Those with a valid sample, by name: rounds take them in any order."""
        return sorted({arm for name, arm, _ in self._samples if name == workload})

    def of(self, workload: str, arm: str, field: str) -> Spread | None:
        return spread([value for number in self._rounds if (value := self._value(workload, arm, number, field)) is not None])

    def ratio(self, workload: str, arm: str, to: str, field: str) -> Spread | None:
        pairs = [(self._value(workload, arm, n, field), self._value(workload, to, n, field)) for n in self._rounds]
        return spread([one / other for one, other in pairs if one is not None and other])

    def added(self, workload: str, arm: str, number: int, field: str) -> float | None:
        """What the arm adds to the direct way within a round."""
        through, without = (self._value(workload, name, number, field) for name in (arm, "direct"))
        return None if through is None or without is None else through - without

    def added_spread(self, workload: str, arm: str, field: str) -> Spread | None:
        return spread([v for n in self._rounds if (v := self.added(workload, arm, n, field)) is not None])

    def added_ratio(self, workload: str, arm: str, to: str, field: str) -> Spread | None:
        pairs = [(self.added(workload, arm, n, field), self.added(workload, to, n, field)) for n in self._rounds]
        # A round in which the other adds nothing cannot be left out, since that would favour whoever adds much: infinitely dear.
        return spread([one / other if other > 0 else math.inf for one, other in pairs if None not in (one, other)])

    def _value(self, workload: str, arm: str, number: int, field: str) -> float | None:
        sample = self._samples.get((workload, arm, number))
        return None if sample is None else sample.value(field)


@dataclasses.dataclass(frozen=True)
class Target:
    """A ratio or a figure that must not be passed; or, `at_least`, that must be reached."""

    what: str
    limit: float
    found: Spread | None
    at_least: bool = False
    unit: str = ""
    # Where a figure is known to lie between two bounds only: `found` is the upper one, this the lower.
    above: Spread | None = None

    @property
    def asked(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.limit:.2f}{self.unit}"

    @property
    def verdict(self) -> str:
        if self.found is None or self.found.low is None:
            return "unclear: too few rounds"
        low = self.found.low if self.above is None else self.above.low
        if self.at_least:
            is_met, is_missed = low >= self.limit, self.found.high < self.limit
        else:
            is_met, is_missed = self.found.high <= self.limit, low > self.limit
        if is_met:
            return "met"
        return "not met" if is_missed else "unclear: the interval holds the limit"


def targets(figures: Figures) -> list[Target]:
    return [
        Target("CPU per request at 16 connections, to nginx", 0.75, figures.ratio("c16", "strait", "nginx", "cpu_us")),
        Target("added p50 at 1 connection, to nginx's", 0.85, figures.added_ratio("c1", "strait", "nginx", "p50_us")),
        Target(
            "the same with `--busy-poll 100us`", 0.85, figures.added_ratio("c1", "strait-busy-poll", "nginx", "p50_us")
        ),
        Target(
            "CPU per request at 16 connections, DEFER_TASKRUN to the default ring",
            0.90,
            figures.ratio("c16", "strait", "strait-plain-ring", "cpu_us"),
        ),
        Target("CPU per request, 16 KiB both ways, to nginx", 1.05, figures.ratio("c16-16k", "strait", "nginx", "cpu_us")),
    ]


# Those that read MCP, not Strait itself.
PEERS = ("envoy-mcp", "envoy-router", "mcp-proxy", "fastmcp", "litellm", "contextforge")


def gateway_targets(figures: Figures) -> list[Target]:
    """With everything on; the peers' fastest is whoever has the lowest median here."""
    cost = lambda arm: figures.of("g16", arm, "cpu_us")
    ratio = lambda to: figures.ratio("g16", "strait-everything", to, "cpu_us")
    known = [arm for arm in PEERS if cost(arm)]
    fastest = min(known, key=lambda arm: cost(arm).median, default=None)
    rows = [
        Target("everything on, CPU per request at 16 connections, to nginx", 0.60, ratio("nginx")),
        Target("the same, to a relay that copies bytes", 1.10, ratio("floor")),
        Target("added p50 at 1 connection, to nginx's", 0.75, figures.added_ratio("g1", "strait-everything", "nginx", "p50_us")),
    ]
    if fastest:
        rows.append(Target(f"CPU per request, to the fastest that reads MCP (`{fastest}`)", 0.10, ratio(fastest)))
    return rows
