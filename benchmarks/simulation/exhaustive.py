"""A crash at every operation of a run, and again at every operation of what follows it.

One undisturbed run leaves a picture of the storage before each operation, so a crash there costs no rerun
of what came before: recovery starts from the picture.  The recovery is recorded in the same way, which
gives the second crashes.  Two crashes that leave the same bytes behind have the same future, and count
once.
"""

import itertools
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from benchmarks.simulation import checker
from benchmarks.simulation.bucket import Bucket
from benchmarks.simulation.disk import Disk, File, Picture
from benchmarks.simulation.evidence import History
from benchmarks.simulation.kernel import Fault, Kernel, Process
from benchmarks.simulation.settings import Size
from benchmarks.simulation.world import World

Told = tuple[str, int, str]

CHANGES = frozenset(
    {"create", "write", "truncate", "fsync", "link", "unlink", "rename", "mkdir", "rmdir", "symlink"}
)
REQUESTS = frozenset({"put", "put-new", "delete"})
DECISIVE = frozenset({"link", "unlink", "rename", "fsync"}) | REQUESTS
"""What makes something visible or safe: where second crashes are tried, and the firsts of pairs."""


@dataclass(frozen=True)
class State:
    """All that outlives a driver: the storage, and what drivers were told so far."""

    disk: Picture
    objects: dict[str, bytes]
    told: tuple[Told, ...]

    def same_as(self) -> object:
        """Equal for states with the same future."""
        return Disk(self.disk).digest(), tuple(
            sorted((key, hash(data)) for key, data in self.objects.items())
        )


@dataclass(frozen=True)
class Moment:
    """The state just before an operation."""

    kind: str
    path: str
    state: State


@dataclass(frozen=True)
class Crash:
    """Where and how a driver died, and what was left.  Its name is `operation-when-how`, of each crash."""

    name: str
    kind: str
    state: State


@dataclass
class Tally:
    """What was tried."""

    mode: str
    operations: int = 0
    singles: int = 0
    pairs: int = 0
    runs: int = 0
    ops: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        self.operations = other.operations
        self.singles += other.singles
        self.pairs += other.pairs
        self.runs += other.runs
        self.ops += other.ops
        self.failures += other.failures


class _Recorder:
    """A `kernel.Plan` without faults that takes a picture before every change."""

    def __init__(self, world: World) -> None:
        self.moments: list[Moment] = []
        self._world = world

    def fault(self, process: Process, kind: str, path: str) -> Fault:
        if kind in CHANGES | REQUESTS:
            self.note(kind, path)
        return Fault.NONE

    def error(self, process: Process, kind: str, path: str) -> Exception:
        raise NotImplementedError

    def note(self, kind: str, path: str) -> None:
        world = self._world
        objects = dict(world.bucket.objects) if world.bucket is not None else {}
        state = State(world.disk.picture(), objects, tuple(world.history.appended))
        self.moments.append(Moment(kind, path, state))


class Bench:
    """One world whose storage is set back for every run."""

    def __init__(self, mode: str) -> None:
        self.tally = Tally(mode)
        self._mode = mode
        self._kernel = Kernel(random.Random(0))
        self.world = World(self._kernel, 0, Size(keep=1), bucket=Bucket() if mode == "bucket" else None)

    def prepare(self) -> list[Moment]:
        """The undisturbed run.  To be called, like the rest, in `world.installed()`."""
        self.world.prepare()
        self.world.add_inputs("0.jsonl", self.world.questions(random.Random("exhaustive"), 9, odd=True))
        self._kernel.now += 100
        self._began = self._kernel.now
        self._reference = ""
        moments = self.run(Crash("", "", State(self.world.disk.picture(), {}, ())))
        self._reference = checker.digest(self.world.run_files())
        self.tally.operations = len(moments) - 1
        return moments

    def trace(self, say: Callable[[str], None]) -> None:
        """Print what follows."""
        self._kernel.trace = say

    def run(self, crash: Crash) -> list[Moment]:
        """From what a crash left to the end, which must be the undisturbed run's."""
        world, kernel = self.world, self._kernel
        world.disk = Disk(crash.state.disk)
        if world.bucket is not None:
            world.bucket.objects = dict(crash.state.objects)
        world.history = History(list(crash.state.told))
        kernel.now, kernel.processes = self._began, []
        kernel.plan = recorder = _Recorder(world)
        before = kernel.ops
        process = kernel.alone(f"after-{crash.name or 'nothing'}", world.drive, random.Random(crash.name))
        recorder.note("end", "")
        self._judge(crash, process)
        self.tally.ops += kernel.ops - before
        self.tally.runs += 1
        return recorder.moments

    def _judge(self, crash: Crash, process: Process) -> None:
        evidence = self.world.evidence([self.world.exit_of(process)])
        problems = checker.violations(evidence)
        if process.exit not in checker.DONE:
            problems.insert(0, f"ended with {process.exit}: {process.failure!r}")
        elif not problems and self._reference and checker.digest(evidence.files) != self._reference:
            problems.append("ended otherwise than the undisturbed run")
        self.tally.failures += [f"{self._mode}/{crash.name}: {problem}" for problem in problems[:1]]


def crashes(
    moments: list[Moment], after: str = "", kinds: frozenset[str] = CHANGES | REQUESTS
) -> Iterator[Crash]:
    """Death before, during and after every operation, by a kill and, on a disk, by a loss of power."""
    for number, (moment, following) in enumerate(itertools.pairwise(moments)):
        if moment.kind not in kinds:
            continue
        for when, state in (("before", moment.state), ("after", following.state)):
            yield Crash(f"{after}{number}-{when}-kill", moment.kind, state)
            if moment.kind in CHANGES:
                strict = replace(state, disk=_without_power(state.disk, None))
                yield Crash(f"{after}{number}-{when}-power", moment.kind, strict)
        if moment.kind in CHANGES:
            torn = _torn(moment.state.disk, following.state.disk)
            yield Crash(f"{after}{number}-during-kill", moment.kind, replace(moment.state, disk=torn))
            name = f"{after}{number}-during-power"
            some = _without_power(torn, random.Random(name))
            yield Crash(name, moment.kind, replace(moment.state, disk=some))


def _without_power(picture: Picture, rng: random.Random | None) -> Picture:
    disk = Disk(picture)
    disk.lose_power(rng)
    return disk.picture()


def _torn(before: Picture, after: Picture) -> Picture:
    """Half of what an operation wrote; an operation on names is whole."""
    nodes = dict(after[0])
    for number, node in after[0].items():
        old = before[0].get(number, File())
        if isinstance(node, File) and isinstance(old, File) and len(node.data) > len(old.data):
            nodes[number] = node._replace(data=node.data[: (len(old.data) + len(node.data)) // 2])
    return nodes, after[1]


def explore(mode: str, part: int, parts: int, *, pairs: bool, every: int = 1) -> Tally:
    """Every crash of a mode, or each n-th, and with `pairs` every crash after it; a share of the work."""
    began = time.monotonic()
    bench = Bench(mode)
    with bench.world.installed():
        firsts = _distinct(crashes(bench.prepare()))
        for first in list(firsts)[part * every :: parts * every]:
            moments = bench.run(first)
            bench.tally.singles += 1
            if pairs and first.kind in DECISIVE:
                for second in _distinct(crashes(moments, f"{first.name}/", DECISIVE)):
                    bench.run(second)
                    bench.tally.pairs += 1
    bench.tally.seconds = time.monotonic() - began
    return bench.tally


def replay(name: str, trace: Callable[[str], None]) -> list[str]:
    """Do `mode/operation-when-how[/operation-when-how]` again."""
    mode, *names = name.split("/")
    bench = Bench(mode)
    with bench.world.installed():
        moments, after = bench.prepare(), ""
        for each in names:
            (crash,) = [crash for crash in crashes(moments, after) if crash.name == after + each]
            trace(f"crash {crash.name}: {crash.kind}")
            bench.trace(trace)
            moments, after = bench.run(crash), f"{crash.name}/"
    return bench.tally.failures


def _distinct(found: Iterable[Crash]) -> Iterator[Crash]:
    seen: set[object] = set()
    for each in found:
        if (key := each.state.same_as()) not in seen:
            seen.add(key)
            yield each
