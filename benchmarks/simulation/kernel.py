"""What runs when: every operation on storage is a step, and between two steps another driver may run.

Drivers are threads, but only one of them ever runs: it hands a baton on, to whom the seed says.  So the
interleaving, the clock and every fault come from the seed alone.  `perform` is where faults happen.
"""

import heapq
import itertools
import random
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol, TypeVar

from s2d_loop.errors import S2DError

T = TypeVar("T")


class Crash(BaseException):
    """The process is dead: nothing that it still does has an effect."""


class Fault(Enum):
    """What befalls one operation."""

    NONE = auto()
    CRASH_BEFORE = auto()
    CRASH_DURING = auto()
    CRASH_AFTER = auto()
    ERROR = auto()
    """It fails, and has no effect."""
    LOST_ANSWER = auto()
    """It has its effect, and the caller is told that it failed."""
    LATE = auto()
    """The caller is told that it failed, and it has its effect some time later."""


class Plan(Protocol):
    """Decides on the fate of each operation."""

    def fault(self, process: "Process", kind: str, path: str) -> Fault: ...

    def error(self, process: "Process", kind: str, path: str) -> Exception: ...


class NoFaults:
    """Everything works."""

    def fault(self, process: "Process", kind: str, path: str) -> Fault:
        return Fault.NONE

    def error(self, process: "Process", kind: str, path: str) -> Exception:
        raise NotImplementedError(f"{process.name}: {kind} {path}")


@dataclass(eq=False)
class Process:
    """A driver: what it runs, and what became of it."""

    name: str
    work: Callable[[], int]
    rng: random.Random
    until: float = 0.0
    """It doesn't run before this time."""
    alive: bool = True
    done: bool = False
    exit: int | None = None
    """Its exit status; None while it runs, and for one that was killed."""
    failure: BaseException | None = None
    ops: int = 0
    baton: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))


@dataclass(order=True)
class _Event:
    time: float
    number: int
    action: Callable[[], None] = field(compare=False)


class Kernel:
    """The simulated machine's time, processes and events."""

    def __init__(
        self, rng: random.Random, plan: Plan | None = None, trace: Callable[[str], None] | None = None
    ) -> None:
        self.plan: Plan = plan or NoFaults()
        self.now = 1_700_000_000.0
        self.ops = 0
        self.max_ops: int | None = None
        """Whoever goes on after so many operations dies: it goes round in circles."""
        self.processes: list[Process] = []
        self.current: Process | None = None
        self.stickiness = 0.8
        self.on_death: Callable[[Process], None] = lambda process: None
        self.on_end: Callable[[Process], None] = lambda process: None
        self._rng = rng
        self.trace = trace
        self._events: list[_Event] = []
        self._numbers = itertools.count()
        self._main = threading.Semaphore(0)

    # What storage and engines call.

    def perform(
        self,
        kind: str,
        path: str,
        apply: Callable[[], T],
        torn: Callable[[float], object] | None = None,
        late: Callable[[], object] | None = None,
    ) -> T:
        """One operation: it may fail, crash its process before, in the middle or after, or lose its answer."""
        process = self.step(kind, path)
        fault = Fault.NONE if process is None else self.plan.fault(process, kind, path)
        if process is None or fault is Fault.NONE:
            return apply()
        self.say(f"{fault.name} {kind} {path}")
        if fault is Fault.CRASH_DURING and torn is not None:
            torn(self._rng.random())
        if fault in (Fault.CRASH_AFTER, Fault.LOST_ANSWER):
            apply()
        if fault in (Fault.CRASH_BEFORE, Fault.CRASH_DURING, Fault.CRASH_AFTER):
            self.die(process)
            raise Crash
        if fault is Fault.LATE and late is not None:
            self.at(self.now + self._rng.expovariate(1 / 20), late)
        raise self.plan.error(process, kind, path)

    def step(self, kind: str, path: str) -> Process | None:
        """Time goes on, and perhaps another process; Crash if this one is dead.  None: no process runs."""
        process = self.current
        if process is None:
            return None
        if not process.alive:
            raise Crash
        self.ops += 1
        process.ops += 1
        if self.max_ops is not None and self.ops > self.max_ops:
            self.die(process)
            raise Crash
        self.now += self._rng.expovariate(1 / 0.01)
        self._switch()
        if self.trace is not None:
            self.say(f"{kind} {path}")
        return process

    def sleep(self, seconds: float) -> None:
        """The running process waits."""
        if self.current is not None:
            self.current.until = self.now + seconds
            self._switch()

    def uuid4(self) -> uuid.UUID:
        """Unique, and from the seed."""
        rng = self.current.rng if self.current is not None else self._rng
        return uuid.UUID(int=rng.getrandbits(128), version=4)

    def say(self, text: str) -> None:
        if self.trace is not None:
            name = self.current.name if self.current is not None else "-"
            self.trace(f"{self.now - 1_700_000_000:10.3f} {name:8} {text}")

    # What the scenario calls.

    def at(self, time: float, action: Callable[[], object]) -> None:
        """Do something at a time."""
        heapq.heappush(self._events, _Event(time, next(self._numbers), lambda: (action(), None)[1]))

    def start(self, name: str, work: Callable[[], int]) -> Process:
        """A new process; it runs when it is its turn."""
        process = Process(name, work, random.Random(self._rng.getrandbits(64)), until=self.now)
        self.processes.append(process)
        threading.Thread(target=self._live, args=(process,), name=name, daemon=True).start()
        return process

    def die(self, process: Process) -> None:
        """Kill a process: what it still does has no effect."""
        self.say(f"killed: {process.name}")
        process.alive = False
        process.until = self.now
        self.on_death(process)

    def run(self) -> None:
        """Until every process has ended and nothing more is to happen."""
        self.current = self._chosen(None)
        if self.current is not None:
            self.current.baton.release()
            self._main.acquire()

    def alone(self, name: str, work: Callable[[], int], rng: random.Random) -> Process:
        """Run one process here, in this thread."""
        self.current = process = Process(name, work, rng)
        self.processes.append(process)
        self._work(process)
        self.current = None
        return process

    def _live(self, process: Process) -> None:
        process.baton.acquire()
        self._work(process)
        following = self._chosen(None)
        self.current = following
        (self._main if following is None else following.baton).release()

    def _work(self, process: Process) -> None:
        try:
            status = process.work() if process.alive else None
        except BaseException as failure:
            process.failure = failure
            status = int(failure.exit_code) if isinstance(failure, S2DError) else 1
        process.done = True
        if process.alive:
            process.exit = status
            self.say(f"exit {status} {process.failure or ''}".rstrip())
        self.on_end(process)

    def _switch(self) -> None:
        me = self.current
        if me is None or (len(self.processes) == 1 and not self._events and me.until <= self.now):
            return
        following = self._chosen(me)
        assert following is not None, "the running process has not ended"
        if following is not me:
            self.current = following
            following.baton.release()
            me.baton.acquire()
        if not me.alive:
            raise Crash

    def _chosen(self, me: Process | None) -> Process | None:
        """Whose turn it is; time jumps to the next event while everybody waits."""
        while True:
            while self._events and self._events[0].time <= self.now:
                heapq.heappop(self._events).action()
            waiting = [each for each in self.processes if not each.done]
            ready = [each for each in waiting if each.until <= self.now]
            if ready:
                return me if me in ready and self._rng.random() < self.stickiness else self._rng.choice(ready)
            times = [each.until for each in waiting] + [event.time for event in self._events[:1]]
            if not times:
                return None
            self.now = max(self.now, min(times))
