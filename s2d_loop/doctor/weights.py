"""Weights: what every trained version is made of, and its way back to those that the run began with."""

from collections.abc import Iterator

from s2d_loop.doctor.chain import Entry
from s2d_loop.doctor.files import WEIGHTS, folder_of
from s2d_loop.doctor.findings import ALTERED, Check, Checkup
from s2d_loop.doctor.root import Root
from s2d_loop.doctor.story import Story
from s2d_loop.doctor.tables import digest


def check_weights(checkup: Checkup, root: Root, story: Story) -> None:
    """Digests, lineage and the pointer for people."""
    with checkup.check("trained weights are what was committed", "versions") as check:
        for entry in story.all("train"):
            check.looked += 1
            _made_of(check, entry)
    with checkup.check("promoted weights traced back", "versions") as check:
        for entry in story.all("promote"):
            check.looked += 1
            _traced(check, story, entry)
    with checkup.check("each round on the weights promoted before it", "stages") as check:
        for entry in story.stages:
            if wanted := _wanted(story, entry):
                check.looked += 1
                _on(check, entry, wanted)
    with checkup.check("promoted leads to the newest promoted weights", "links") as check:
        for name, target in root.links():
            if name == "promoted":
                check.looked += 1
                _pointer(check, story, target)


def _made_of(check: Check, entry: Entry) -> None:
    """The digest of a version is that of its files' names and checksums."""
    known, folder = entry.facts["weights"], folder_of(entry, WEIGHTS)
    if known["path"] != folder.rstrip("/"):
        check.found(entry.path, f"names {known['path']} as its weights, not {folder}", ALTERED)
    files = sorted((file.path.removeprefix(folder), file.sha256) for file in entry.tables(WEIGHTS))
    if digest(*(part for pair in files for part in pair)) != known["digest"]:
        check.found(
            entry.path, f"{entry.where}: its files aren't those of the digest {known['digest']}", ALTERED
        )


def _traced(check: Check, story: Story, promoted: Entry) -> None:
    trained = story.stage(promoted.iteration, "train")
    decided = story.stage(promoted.iteration, "gate")
    if trained is None or trained.facts["weights"] != promoted.facts["weights"]:
        check.found(promoted.path, f"{promoted.where}: no round trained these weights", ALTERED)
        return
    if decided is None or decided.facts["decision"] != "promote":
        check.found(promoted.path, f"{promoted.where}: the gate did not promote them", ALTERED)
    if trained.facts["start"] not in (story.start, *_promoted_before(story, promoted.iteration)):
        what = f"{trained.where} started from weights that no round promoted ({trained.facts['start']})"
        check.found(trained.path, what, ALTERED)


def _promoted_before(story: Story, iteration: int) -> Iterator[str]:
    """The digests promoted before a round, newest first."""
    for entry in reversed(story.all("promote")):
        if entry.iteration < iteration:
            yield str(entry.facts["weights"]["digest"])


def _wanted(story: Story, entry: Entry) -> tuple[str, ...]:
    """The weights that a stage may have worked with; none for a stage without any."""
    current = next(_promoted_before(story, entry.iteration), story.start)
    if entry.stage == "generate":
        return current, story.start
    if entry.stage == "train":
        return current, story.start
    if entry.stage == "evaluate":
        trained = story.stage(entry.iteration, "train")
        return (trained.facts["weights"]["digest"],) if trained else (story.start,)
    return ()


def _on(check: Check, entry: Entry, wanted: tuple[str, ...]) -> None:
    used = entry.facts["start"] if entry.stage == "train" else entry.facts["weights"]
    if used not in wanted:
        check.found(
            entry.path, f"{entry.where} worked with {used}, not {' or '.join(sorted({*wanted}))}", ALTERED
        )


def _pointer(check: Check, story: Story, target: str) -> None:
    promoted = story.all("promote")
    wanted = promoted[-1].facts["weights"]["path"] if promoted else None
    if wanted is None:
        check.found("promoted", f"leads to {target}, but nothing is promoted", "remove the link")
    elif target != wanted:
        remedy = f"`ln -sfn {wanted} promoted` in the run; a crash right after a promotion leaves this"
        check.found("promoted", f"leads to {target}, the newest promoted weights are {wanted}", remedy)
