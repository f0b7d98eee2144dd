"""What a checkup looked at and what it found."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Finding:
    """A promise that doesn't hold: where (relative to the root), what is wrong, and what to do."""

    file: str
    what: str
    remedy: str


@dataclass(slots=True)
class Check:
    """One promise: how many things it was held against, and where it doesn't hold."""

    name: str
    unit: str
    looked: int = 0
    findings: list[Finding] = field(default_factory=list)

    def found(self, file: str, what: str, remedy: str) -> None:
        self.findings.append(Finding(file, what, remedy))


RESTORE = "restore it from a copy of the run"
ALTERED = "the run was altered: go back to a copy of it, or start a new run.dir"


class Checkup:
    """All checks of a run, in the order in which they were begun, and what is harmless but worth saying."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.checks: list[Check] = []
        self.notes: list[str] = []

    @contextlib.contextmanager
    def check(self, name: str, unit: str) -> Iterator[Check]:
        """One check; whatever a stranger's file makes it stumble over ends it as a finding, never as a crash."""
        check = Check(name, unit)
        self.checks.append(check)
        try:
            yield check
        except Exception as error:
            check.found(
                "",
                f"could not be checked to the end ({type(error).__name__}: {str(error)[:200]})",
                "something it reads isn't of the form in docs/formats.md; the other findings may say what",
            )

    @property
    def findings(self) -> list[tuple[str, Finding]]:
        """Every finding with the name of its check."""
        return [(check.name, each) for check in self.checks for each in check.findings]
