"""What the ledger tells, as a whole: stages in their order, each once, under a lease, counts that add up."""

from collections import Counter
from collections.abc import Iterable, Sequence

from s2d_loop.doctor.chain import Entry
from s2d_loop.doctor.findings import ALTERED, Check, Checkup

BEFORE = {
    "intake": "",
    "probe": "intake",
    "triage": "intake",
    "generate": "intake",
    "curate": "generate",
    "pool": "curate",
    "train": "pool",
    "evaluate": "train",
    "gate": "evaluate",
    "attribute": "gate",
    "promote": "gate",
}
"""The stage whose record a stage reads; a round's intake reads none."""
_BALANCED = ("triage", "generate", "curate", "pool")
"""Stages that take exactly what the one before gave: where there is a triage, it stands before generate."""
_HOLDS = {
    "heldout": ("heldout", "out"),
    "intake": ("inputs", "out"),
    "generate": ("generations", "out"),
    "curate": ("verdicts", "into"),
    "probe": ("verdicts", "into"),
    "triage": ("routes", "into"),
    "evaluate": ("scored", "out"),
}
"""The table of a stage that has a row for each thing it counts."""


SERVING = ("rollback", "promote", "collapsed")
"""Records that put a version in service, beside the stage `promote`."""
VOIDING = ("forget", *SERVING)
"""Records that say which earlier ones no longer count."""


class Story:
    """What counts: the records that no `forget` or `rollback` made void, and the files nobody swept."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = list(entries)
        self._swept = {path for e in entries if e.kind == "swept" for path in e.facts["paths"]}
        void = {seq for e in entries if e.kind in VOIDING for seq in e.facts["void"]}
        self.stages = [e for e in entries if e.kind == "stage" and e.seq not in void]
        self._by_place = {(e.iteration, e.stage): e for e in self.stages}
        self._void = void

    def void(self, entry: Entry) -> bool:
        """Whether a record no longer counts.  Its files may be removed without a word."""
        return entry.seq in self._void

    def swept(self, path: str) -> bool:
        """Whether a file was removed on purpose, by itself or with a folder above it."""
        parts = path.split("/")
        return any("/".join(parts[:end]) in self._swept for end in range(1, len(parts) + 1))

    def stage(self, iteration: int, stage: str) -> Entry | None:
        return self._by_place.get((iteration, stage))

    def all(self, stage: str) -> list[Entry]:
        """A stage's records in the order of rounds."""
        return sorted((e for e in self.stages if e.stage == stage), key=lambda e: e.iteration)

    def first(self, kind: str) -> Entry | None:
        return next((e for e in self.entries if e.kind == kind), None)

    def served_by_hand(self) -> list[Entry]:
        """The records that count and put a version in service without its promotion, oldest first."""
        return [e for e in self.entries if e.kind in SERVING and not self.void(e)]

    def in_service(self) -> dict[int, str]:
        """The digest of the weights in service when each record was written, and now (at the number after)."""
        after: dict[int, str] = {}
        served: list[tuple[int, str]] = [(0, self.start)]
        for entry in self.entries:
            after[entry.seq] = served[-1][1]
            if entry.kind in VOIDING:
                void = set(entry.facts["void"])
                served = [each for each in served if each[0] not in void]
            if entry.kind in SERVING:
                served.append((entry.seq, entry.facts["digest"] or self.start))
            if entry.kind == "stage" and entry.stage == "promote":
                served.append((entry.seq, entry.facts["weights"]["digest"]))
        after[len(self.entries) + 1] = served[-1][1]
        return after

    def quarantined(self) -> dict[int, set[str]]:
        """The sources under quarantine when each stage that counts was committed."""
        barred: set[str] = set()
        found: dict[int, set[str]] = {}
        for entry in self.entries:
            if self.void(entry):
                continue
            found[entry.seq] = set(barred)
            if entry.kind == "stage" and entry.stage == "attribute":
                barred |= set(entry.facts["named"])
            if entry.kind == "release":
                barred.discard(entry.facts["source"])
        return found

    @property
    def start(self) -> str:
        """The digest of the weights that the run began with."""
        begun, measured = self.first("run"), self.stage(0, "evaluate")
        if begun:
            return str(begun.facts["start"])
        return str(measured.facts["weights"]) if measured else ""


def check_story(checkup: Checkup, story: Story) -> None:
    """Order, leases and balances."""
    with checkup.check("stages in order, each once", "records") as check:
        _order(check, story)
    with checkup.check("every commit made under a lease", "records") as check:
        _leases(check, story.entries)
    with checkup.check("counts add up within stages", "stages") as check:
        trials = (e for e in story.entries if e.kind == "trial" and not story.void(e))
        for entry in (*story.stages, *trials):
            check.looked += 1
            _own_counts(check, entry)
    with checkup.check("counts add up between stages", "stages") as check:
        for entry in story.stages:
            if entry.stage in _BALANCED or entry.stage == "train":
                check.looked += 1
                _counts_between(check, story, entry)


def _order(check: Check, story: Story) -> None:
    """Each stage once and after the one it reads, in what counts at the time."""
    seen: dict[tuple[int, str], int] = {}
    for entry in story.entries:
        check.looked += 1
        if entry.kind in VOIDING:
            if not all(type(seq) is int and 0 < seq < entry.seq for seq in entry.facts["void"]):
                check.found(entry.path, f"{entry.kind} makes void what isn't before it", ALTERED)
            void = set(entry.facts["void"])
            seen = {place: seq for place, seq in seen.items() if seq not in void}
        if entry.kind != "stage":
            continue
        place = (entry.iteration, entry.stage)
        if place in seen:
            check.found(entry.path, f"{entry.where} was committed twice", ALTERED)
        before = "heldout" if place == (0, "evaluate") else BEFORE.get(entry.stage, "")
        if entry.stage not in BEFORE and place != (0, "heldout"):
            check.found(entry.path, f"{entry.where}: there is no such stage", ALTERED)
        if before and (entry.iteration, before) not in seen:
            check.found(entry.path, f"{entry.where} stands before its {before}", ALTERED)
        seen[place] = entry.seq
    attempts = Counter(e.attempt for e in story.entries if e.kind == "stage")
    for attempt in (each for each, times in attempts.items() if times > 1):
        check.found("ledger", f"the attempt {attempt} was committed more than once", ALTERED)


def _leases(check: Check, entries: Iterable[Entry]) -> None:
    held = False
    for entry in entries:
        held = held or entry.kind == "lease"
        if entry.kind in ("stage", "trial", "finished"):
            check.looked += 1
            if not held:
                check.found(entry.path, f"{entry.where} was committed without a lease", ALTERED)


def _own_counts(check: Check, entry: Entry) -> None:
    if entry.into != entry.out + sum(entry.dropped.values()):
        what = (
            f"{entry.where}: {entry.into} in, but {entry.out} out and {sum(entry.dropped.values())} dropped"
        )
        check.found(entry.path, what, ALTERED)
    if entry.stage in _HOLDS:
        name, side = _HOLDS[entry.stage]
        counted = entry.into if side == "into" else entry.out
        held = sum(file.rows for file in entry.tables(name))
        if counted != held:
            check.found(entry.path, f"{entry.where}: counts {counted}, its {name} have {held} rows", ALTERED)


def _counts_between(check: Check, story: Story, entry: Entry) -> None:
    triaged = story.stage(entry.iteration, "triage") if entry.stage == "generate" else None
    before = triaged or story.stage(entry.iteration, BEFORE[entry.stage])
    if before is None:
        return  # said by the check of the order
    given = sum(file.rows for file in before.tables("training")) if entry.stage == "train" else before.out
    if entry.into != given:
        what = f"{entry.where} took {entry.into}, but its {before.stage} gave {given}"
        check.found(entry.path, what, ALTERED)
