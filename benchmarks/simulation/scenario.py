"""A random life of a run, from its seed: faults, restarts, rivals, arriving files; then quiet, and the end.

While faults last, drivers are killed, paused, told wrong things and started again.  Then faults stop, and
a last driver must finish the run.  What came of it goes to the checker.
"""

import errno
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from benchmarks.simulation import checker
from benchmarks.simulation.bucket import Bucket
from benchmarks.simulation.bugs import Bug
from benchmarks.simulation.evidence import Exit
from benchmarks.simulation.kernel import Fault, Kernel, Process
from benchmarks.simulation.settings import Size
from benchmarks.simulation.world import World
from s2d_loop.errors import EngineError, ExitCode, LostLeaseError, StoppedError

MAX_OPS = 20_000
"""A run that takes longer goes round in circles."""
_EXPECTED = (LostLeaseError, StoppedError, EngineError)
"""What a driver may end with while there are faults, beside an error that was injected; else it is a finding."""
_IDLE_S = 600
"""By then a run without an end has worked off whatever came, and waits."""
_CHANGES = frozenset(
    {"create", "write", "fsync", "link", "unlink", "rename", "mkdir", "put", "put-new", "delete"}
)


@dataclass(frozen=True)
class Rates:
    """How likely something is, per operation on storage (or call of an engine)."""

    crash: float = 0.0
    error: float = 0.0
    lost: float = 0.0
    late: float = 0.0
    pause: float = 0.0
    engine: float = 0.0
    power_loss: float = 0.0
    """The share of crashes that take the machine with them."""


@dataclass
class Outcome:
    """What a seed came to."""

    seed: int
    problems: list[str] = field(default_factory=list)
    ops: int = 0
    drivers: int = 0
    crashes: int = 0
    faults: int = 0
    mode: str = ""


class RandomFaults:
    """A `kernel.Plan` by the scenario's rates; the faults that a local disk and an object store can have."""

    def __init__(self, rng: random.Random, rates: Rates, kernel: Kernel) -> None:
        self.active = True
        self.count = 0
        self.injected: list[Exception] = []
        self._rng = rng
        self._rates = rates
        self._kernel = kernel

    def fault(self, process: Process, kind: str, path: str) -> Fault:
        if not self.active:
            return Fault.NONE
        rates, draw = self._rates, self._rng.random()
        choices = [
            (rates.crash, self._rng.choice((Fault.CRASH_BEFORE, Fault.CRASH_DURING, Fault.CRASH_AFTER))),
            (rates.error if kind != "list" else 0.0, Fault.ERROR),
            (rates.lost if kind in ("link", "put", "put-new") else 0.0, Fault.LOST_ANSWER),
            (rates.late if kind in ("put", "put-new", "delete") else 0.0, Fault.LATE),
        ]
        for rate, fault in choices:
            if draw < rate:
                self.count += 1
                return fault
            draw -= rate
        if draw < rates.pause:
            self.count += 1
            process.until = self._kernel.now + self._rng.expovariate(1 / 20)
            self._kernel.say(f"paused until {process.until - 1_700_000_000:.1f}")
        return Fault.NONE

    def error(self, process: Process, kind: str, path: str) -> Exception:
        error = self._error(kind, path)
        self.injected.append(error)
        return error

    def _error(self, kind: str, path: str) -> Exception:
        if kind == "link":
            # NFS sends a request again whose answer got lost, and the second one fails on the first.
            return FileExistsError(errno.EEXIST, "File exists", path)
        if kind == "put-new" and self._rng.random() < 0.5:
            return FileExistsError(path)  # the client's own second try was answered 412
        if kind in _CHANGES and self._rng.random() < 0.3:
            return OSError(errno.ENOSPC, "No space left on device", path)
        return TimeoutError(errno.ETIMEDOUT, "timed out", path)


def run_seed(seed: int, *, bug: Bug | None = None, trace: Callable[[str], None] | None = None) -> Outcome:
    """One life, of the product as it is or with a bug planted."""
    return _Life(seed, trace).live(bug or _no_bug)


@contextmanager
def _no_bug(world: World) -> Iterator[None]:
    yield


class _Life:
    def __init__(self, seed: int, trace: Callable[[str], None] | None) -> None:
        rng = self._rng = random.Random(f"life {seed}")
        self._outcome = Outcome(seed)
        self._kernel = Kernel(random.Random(f"kernel {seed}"), trace=trace)
        self._kernel.max_ops = MAX_OPS
        self._kernel.stickiness = rng.choice((0.0, 0.5, 0.9, 0.98))
        self._bucket = Bucket() if rng.random() < 0.4 else None
        self._outcome.mode = "disk" if self._bucket is None else "bucket"
        self._rates = _rates(rng, on_disk=self._bucket is None)
        self._faults = RandomFaults(rng, self._rates, self._kernel)
        self._size = Size(forever=rng.random() < 0.2, keep=rng.choice((1, 2, 5)))
        self._world = World(self._kernel, seed, self._size, bucket=self._bucket)
        self._world.engine_step = self._engine_step  # type: ignore[method-assign]
        self._until = self._kernel.now + 100 + rng.uniform(2, 60)
        self._num_drivers = 0
        self._exits: list[Exit] = []

    def live(self, bug: Bug) -> Outcome:
        kernel, world, rng = self._kernel, self._world, self._rng
        with world.installed(), bug(world):
            world.prepare()
            self._arrivals()
            kernel.now += 100  # what lies there from the start is settled
            kernel.plan = self._faults
            kernel.on_death, kernel.on_end = self._on_death, self._on_end
            for _ in range(rng.choice((1, 1, 2, 2, 3, 4))):
                kernel.at(kernel.now + rng.expovariate(1 / 3), self._start)
            for _ in range(rng.choice((0, 0, 0, 1, 2))):
                kernel.at(kernel.now + rng.uniform(0, 10), self._terminate)
            for _ in range(rng.choice((0, 0, 0, 1, 2))):
                kernel.at(kernel.now + rng.uniform(0, 15), self._roll_back)
            kernel.at(self._until, self._calm)
            kernel.run()
            last = self._last_driver()
            self._judge(last)
        self._outcome.ops, self._outcome.drivers = kernel.ops, self._num_drivers
        self._outcome.faults = self._faults.count
        return self._outcome

    def _arrivals(self) -> None:
        world, kernel, rng = self._world, self._kernel, self._rng
        world.add_inputs("0.jsonl", world.questions(rng, rng.randint(1, 5)))
        for number in range(1, rng.choice((1, 2, 4))):
            lines = world.questions(rng, rng.randint(1, 4), odd=rng.random() < 0.3)
            cut = rng.randint(0, len(lines))
            name, when = f"{number}.jsonl", kernel.now + 100 + rng.uniform(-100, 15)
            kernel.at(when, partial(world.add_inputs, name, lines[:cut]))
            later = when + rng.choice((0.5, 5.0, 20.0))
            kernel.at(later, partial(world.add_inputs, name, lines[cut:], append=True))

    def _start(self) -> None:
        if self._faults.active:
            self._num_drivers += 1
            self._kernel.start(f"driver-{self._num_drivers}", self._world.drive)

    def _terminate(self) -> None:
        if self._faults.active and self._kernel.processes:
            self._world.terminate(self._rng.choice(self._kernel.processes).name)

    def _roll_back(self) -> None:
        if self._faults.active:
            self._num_drivers += 1
            self._kernel.start(f"operator-{self._num_drivers}", self._world.roll_back)

    def _calm(self) -> None:
        """Faults stop: whoever is paused goes on, and whoever would wait for ever is asked to stop."""
        self._faults.active = False
        if self._size.forever:
            self._kernel.at(self._kernel.now + 60, self._stop_all)
        for each in self._kernel.processes:
            each.until = min(each.until, self._kernel.now)

    def _stop_all(self) -> None:
        for each in self._kernel.processes:
            if not each.done:
                self._world.terminate(each.name)

    def _engine_step(self) -> None:
        self._kernel.step("call", "")
        if self._faults.active and self._rng.random() < self._rates.engine:
            raise EngineError("no engine is left")

    def _on_death(self, process: Process) -> None:
        self._outcome.crashes += 1
        if self._bucket is None and self._rng.random() < self._rates.power_loss:
            self._kernel.say("power loss")
            for each in self._kernel.processes:
                if each.alive and not each.done:
                    each.alive, each.until = False, self._kernel.now
            self._world.disk.lose_power(self._rng.choice((None, self._rng)))

    def _on_end(self, process: Process) -> None:
        failure = process.failure
        if process.alive and failure is not None and not self._expected(failure):
            self._outcome.problems.append(f"{process.name} ended with {type(failure).__name__}: {failure}")
        if process.name.startswith("operator"):
            return
        if process.alive:
            self._exits.append(self._world.exit_of(process))
        # Somebody starts it again, as a scheduler does, whatever it ended with.
        if self._faults.active and self._kernel.ops < MAX_OPS and self._rng.random() < 0.9:
            self._kernel.at(self._kernel.now + self._rng.expovariate(1 / 4), self._start)

    def _expected(self, failure: BaseException) -> bool:
        injected = self._faults.injected
        return isinstance(failure, _EXPECTED) or any(each in injected for each in _causes(failure))

    def _last_driver(self) -> Process:
        self._num_drivers += 1
        last = self._kernel.start(f"driver-{self._num_drivers}", self._world.drive)
        if self._size.forever:
            self._kernel.at(self._kernel.now + _IDLE_S, self._stop_all)
        self._kernel.run()
        return last

    def _judge(self, last: Process) -> None:
        problems = self._outcome.problems
        if last.exit not in ((ExitCode.INTERRUPTED,) if self._size.forever else checker.DONE):
            problems.append(f"faults stopped, and the last driver ended with {last.exit}: {last.failure!r}")
        if self._kernel.ops > MAX_OPS:
            problems.insert(0, f"not done after {MAX_OPS:,} operations: it goes round in circles")
        problems += checker.violations(self._world.evidence(self._exits, all_taken=self._size.forever))


def _causes(failure: BaseException | None) -> list[BaseException]:
    """An error and those that led to it; an error can be its own cause."""
    found: list[BaseException] = []
    while failure is not None and failure not in found:
        found.append(failure)
        failure = failure.__cause__ or failure.__context__
    return found


def _rates(rng: random.Random, *, on_disk: bool) -> Rates:
    """Some faults often, some never: each life is hard in its own way."""

    def some(*choices: float) -> float:
        return rng.choice((0.0, *choices))

    return Rates(
        crash=some(0.0005, 0.002, 0.005, 0.01),
        error=some(0.0005, 0.002),
        lost=some(0.01, 0.05),
        late=0.0 if on_disk else some(0.005, 0.02),
        pause=some(0.001, 0.005),
        engine=some(0.001),
        power_loss=rng.choice((0.0, 0.5, 1.0)),
    )
