"""What lies in the root that no record names: leftovers that do no harm, and files that look committed."""

import re
from collections import Counter

from s2d_loop.doctor.chain import Entry
from s2d_loop.doctor.files import WEIGHTS, folder_of
from s2d_loop.doctor.findings import ALTERED, Check, Checkup
from s2d_loop.doctor.labels import LABEL
from s2d_loop.doctor.root import Root
from s2d_loop.doctor.story import Story

_LEDGER = re.compile(r"ledger/(\d{8}\.json|\.\d{8}\.json\..*)")
_LABELS = re.compile(rf"{LABEL.pattern}|labels/[^/]+/\.\d{{8}}\.json\..*")
_FOR_PEOPLE = ("config.yaml", "report.html", "logs/", "serving/")
_BESIDE_TABLES = ("README.md",)
_BESIDE_WEIGHTS = ("README.md", "TRAINING.json")


def check_strays(checkup: Checkup, root: Root, story: Story) -> None:
    """Every file is named by a record, or known to be none of the run's state."""
    named = {file.path for entry in story.entries for file in entry.files}
    folders = _folders(story.entries)
    left: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    with checkup.check("no stray files that look committed", "files") as check:
        for path, size in root.files():
            check.looked += 1
            if path in named:
                continue
            kind = _stray(check, path, folders)
            left[kind] += 1
            sizes[kind] += size
        for path, target in root.links():
            if path not in ("promoted", "logs/latest"):
                check.found(path, f"is a symbolic link (to {target}), which no run has there", "remove it")
        for path, what in root.special():
            check.found(path, f"is {what}, which no run has", "remove it")
    if attempts := left["left over"]:
        note = (
            f"{attempts} files of attempts that were never committed: harmless, {_amount(sizes['left over'])}"
        )
        checkup.notes.append(f"{note}; a running driver may still write some of them")


def _folders(entries: list[Entry]) -> dict[str, bool]:
    """The folders of committed attempts, and whether they hold weights."""
    return {folder_of(e, kind): kind == WEIGHTS for e in entries for kind in {f.table for f in e.files}}


def _stray(check: Check, path: str, folders: dict[str, bool]) -> str:
    """What an unnamed file is."""
    if path.startswith("ledger/"):
        if not _LEDGER.fullmatch(path):
            check.found(path, "is no record, but lies in the ledger", "remove it")
        return "ledger"
    if path.startswith("labels/"):
        if not _LABELS.fullmatch(path):
            check.found(path, "is no label, but lies among them", "remove it")
        return "labels"
    if path.startswith(_FOR_PEOPLE):
        return "for people"
    committed = next((folder for folder in _above(path) if folder in folders), None)
    if committed is None:
        if not path.startswith(("data/", "weights/")):
            check.found(path, "is none of a run's files", "move it elsewhere, or remove it")
        return "left over"
    beside = _BESIDE_WEIGHTS if folders[committed] else _BESIDE_TABLES
    if path.removeprefix(committed) not in beside:
        check.found(path, "lies among committed files, but no record names it", ALTERED)
    return "beside"


def _above(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:end]) + "/" for end in range(1, len(parts))]


def _amount(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB" if size >= 1 << 20 else f"{size / 2**10:,.1f} KiB"
