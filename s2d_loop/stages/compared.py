"""A round's candidate beside other versions on the held-out inputs: what the gate and the stop rule judge by."""

from collections.abc import Mapping, Sequence

from s2d_loop.evaluate.collapse import Signs, agreement, both_say, commonest_wrong
from s2d_loop.evaluate.gate import Against, Cell, pairs_of
from s2d_loop.evaluate.noninferiority import Pairs
from s2d_loop.evaluate.references import Reference
from s2d_loop.evaluate.suite import SYSTEM1, SYSTEM2, by_category
from s2d_loop.ledger import Record
from s2d_loop.records import Scored
from s2d_loop.stages.evaluate import answers
from s2d_loop.stages.run import Run
from s2d_loop.versions import best_so_far, in_service

ByTask = Mapping[str, list[Scored]]


class Compared:
    """The candidate of a round, the version in service and the best so far, on the same inputs."""

    def __init__(self, run: Run, iteration: int, evaluated: Record, known: Mapping[str, Reference]) -> None:
        self._run = run
        self._known = known
        self._heldout = run.heldout()
        self._answers: dict[tuple[int, str], ByTask] = {}
        self.candidate = answers(run, evaluated, SYSTEM1, known)
        self._slow = answers(run, evaluated, SYSTEM2, known)
        self.current = in_service(run.ledger, iteration)
        self._best = best_so_far(run.ledger)

    def tasks(self) -> dict[str, Cell]:
        """What each task is judged by."""
        return {task: self._cell(scored, task) for task, scored in self.candidate.items()}

    def classes(self) -> dict[str, dict[str, Cell]]:
        """The same for the classes of tasks that have any."""
        found = {task: by_category(scored, self._heldout) for task, scored in self.candidate.items()}
        return {
            task: {name: self._cell(scored, task, name) for name, scored in classes.items()}
            for task, classes in found.items()
            if len(classes) > 1
        }

    def signs(self) -> dict[str, Signs]:
        """What the stop rule reads of each task."""
        return {task: self._signs(task, scored) for task, scored in self.candidate.items()}

    def in_service_beside_best(self) -> dict[str, Against]:
        """The version in service, second, beside the best of each task for which that is another one."""
        found = {}
        for task in self.candidate:
            if (best := self.best(task)) != self.current:
                found[task] = Against(best, self._pairs(best, self.of(self.current, task)))
        return found

    def best(self, task: str, category: str | None = None) -> int:
        """The version to beat; after a rollback it may be one whose answers are gone, and the one in service is."""
        best = self._best.get((task, category), 0)
        measured = self._run.ledger.stage(best, "evaluate")
        kept = measured is not None and self._run.ledger.holds(measured, "scored")
        return best if kept else self.current

    def _cell(self, scored: Sequence[Scored], task: str, category: str | None = None) -> Cell:
        versions = (self.current, self.best(task, category))
        current, best = (Against(each, self._pairs(each, scored)) for each in versions)
        return Cell(current, best)

    def _signs(self, task: str, scored: Sequence[Scored]) -> Signs:
        best, wrong = self.best(task), commonest_wrong(scored)
        # Whose System 2 teaches: that of the starting weights, or each version's own.
        fixed = self.of(0, task, SYSTEM2) if self._run.config.generate.teacher == "start" else None
        slow = self._slow.get(task, []) if fixed is None else fixed
        best_slow = self.of(best, task, SYSTEM2) if fixed is None else fixed
        return Signs(
            accuracy=self._pairs(best, scored),
            same_wrong=pairs_of(
                both_say(wrong, self.of(best, task), best_slow), both_say(wrong, scored, slow)
            ),
            agreement=agreement(scored, slow),
            best_agreement=agreement(self.of(best, task), best_slow),
        )

    def _pairs(self, version: int, scored: Sequence[Scored]) -> Pairs:
        before = self.of(version, scored[0].task) if scored else []
        return pairs_of(*([(each.input_id, each.correct) for each in side] for side in (before, scored)))

    def of(self, version: int, task: str, system: str = SYSTEM1) -> Sequence[Scored]:
        """What a version answered."""
        if (version, system) not in self._answers:
            record = self._run.ledger.stage(version, "evaluate")
            assert record is not None, "whatever was in service was evaluated"
            self._answers[version, system] = answers(self._run, record, system, self._known)
        return self._answers[version, system].get(task, [])
