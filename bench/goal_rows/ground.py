"""What all rows of the goals stand on: programs, cores, upstreams, gateways of a round, and what was found."""

import contextlib
import dataclasses
import pathlib
import random
import shutil

from side_by_side import gateways, loads
from side_by_side.figures import Reading, Sample
from side_by_side.processes import Broken
from side_by_side.running import sample

EVERYTHING = "strait-everything"


@dataclasses.dataclass
class Ground:
    """One run. Everything that it starts ends with `ending`, and what a round starts with `in_round`."""

    strait: pathlib.Path
    floor: pathlib.Path
    folder: pathlib.Path
    proxy_core: int
    load_core: int
    is_quick: bool
    random: random.Random
    ending: contextlib.ExitStack
    samples: list[Sample | Reading] = dataclasses.field(default_factory=list)
    missing: dict[str, str] = dataclasses.field(default_factory=dict)
    _upstreams: dict[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        self.load = loads.GatewayLoad(self.strait, self.load_core)

    def seconds(self, whole: float) -> float:
        """How long something lasts; `--quick` only looks whether it works."""
        return min(whole, 0.3) if self.is_quick else whole

    def upstream(self, route: str) -> int:
        """The port of the echo server with replies of this size, one for the whole run."""
        if route not in self._upstreams:
            text_bytes, tools = loads.GATEWAY_UPSTREAMS[route]
            place = self.folder / f"upstream-{route}"
            place.mkdir()
            self._upstreams[route] = gateways.upstream(self.strait, self.load_core, place, text_bytes, tools, self.ending)
        return self._upstreams[route]

    def gateway(
        self, name: str, route: str, in_round: contextlib.ExitStack, start=None, cores: int | str | None = None
    ) -> gateways.Gateway:
        """A fresh one that answers rightly: one of side-by-side's arms, or what `start` starts."""
        text_bytes, tools = loads.GATEWAY_UPSTREAMS[route]
        cores = self.proxy_core if cores is None else cores
        place = gateways.Place(self.upstream(route), cores, self.folder / name, self.strait, self.floor)
        return gateways.begin(start or gateways.GATEWAYS[name], place, tools, text_bytes, in_round)

    def shuffled(self, all_of: list) -> list:
        return self.random.sample(all_of, len(all_of))

    def cost(self, number: int, workload: loads.Workload, gateway: gateways.Gateway, seconds: float) -> None:
        """CPU per request of one arm in a closed loop, as side-by-side takes it."""
        warm = lambda: self.load.run(gateway, workload, self.seconds(0.5))
        load = lambda: self.load.run(gateway, workload, self.seconds(seconds))
        self.samples.append(sample(number, workload.name, gateway.name, gateway.process, warm, load))

    def found(self, number: int, row: str, arm: str, wrong: str = "", **values: float | None) -> None:
        self.samples.append(Reading(number, row, arm, values, wrong))

    def left_out(self, number: int, part: str, error: Exception) -> None:
        self.missing[f"{part}, round {number}"] = str(error).strip().splitlines()[-1][:300]

    def clear(self) -> None:
        """Folders of a round that is over; those of the upstreams stay."""
        for place in self.folder.iterdir():
            if place.is_dir() and not place.name.startswith("upstream-"):
                shutil.rmtree(place, ignore_errors=True)


__all__ = ["EVERYTHING", "Broken", "Ground"]
