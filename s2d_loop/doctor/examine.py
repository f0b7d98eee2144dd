"""The order of a checkup."""

from s2d_loop.doctor.chain import read_ledger, record_path
from s2d_loop.doctor.cursors import check_cursors
from s2d_loop.doctor.files import check_files
from s2d_loop.doctor.findings import Checkup
from s2d_loop.doctor.labels import check_labels
from s2d_loop.doctor.lineage import check_rows
from s2d_loop.doctor.root import Root, open_root, read
from s2d_loop.doctor.rows import Rows
from s2d_loop.doctor.story import Story, check_story
from s2d_loop.doctor.strays import check_strays
from s2d_loop.doctor.weights import check_weights

_TRIES = 3
"""A driver that commits or sweeps meanwhile makes what was read first look wrong."""


def examine(uri: str) -> Checkup:
    """Check every promise of the run in a directory or at a URI, also while a driver works on it.

    Raises:
        NotThereError: there is no run.
    """
    root = open_root(uri)
    for _ in range(_TRIES):
        checkup, num_records = _once(root)
        broken = checkup.checks[0].findings
        if broken or not checkup.findings or read(root, record_path(num_records + 1)) is None:
            return checkup
    checkup.notes.append("a driver committed while this was checked: some findings may be about that")
    return checkup


def _once(root: Root) -> tuple[Checkup, int]:
    """One checkup, and how many records it read."""
    checkup = Checkup(root.uri)
    with checkup.check("ledger unbroken", "records") as check:
        story = Story(())
        story = Story(read_ledger(root, check))
    check_story(checkup, story)
    intact = check_files(checkup, root, story)
    rows = Rows(root, story, intact)
    try:
        with checkup.check("tables read", "rows") as check:
            check.looked = rows.load()
        check_rows(checkup, rows)
        check_cursors(checkup, story, rows)
    finally:
        rows.close()
    check_weights(checkup, root, story)
    check_labels(checkup, root, story)
    check_strays(checkup, root, story)
    return checkup, len(story.entries)
