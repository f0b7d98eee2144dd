"""Weights: what every trained version is made of, and its way back to those that the run began with."""

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
        for entry in story.served_by_hand():
            check.looked += 1
            _put(check, story, entry)
    served = story.in_service()
    with checkup.check("each round on the weights then in service", "stages") as check:
        for entry in story.stages:
            if entry.stage in ("triage", "generate", "train", "evaluate"):
                check.looked += 1
                _worked_with(check, story, entry, served[entry.seq])
    with checkup.check("promoted leads to the weights in service", "links") as check:
        now = served[len(story.entries) + 1]
        paths = {e.facts["weights"]["digest"]: e.facts["weights"]["path"] for e in story.all("train")}
        for name, target in root.links():
            if name == "promoted":
                check.looked += 1
                _pointer(check, target, paths.get(now))


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
    if trained.facts["start"] not in (story.start, *_served_before(story, trained)):
        what = f"{trained.where} started from weights that no round promoted ({trained.facts['start']})"
        check.found(trained.path, what, ALTERED)


def _put(check: Check, story: Story, put: Entry) -> None:
    """A version that was put in service without a promotion: trained, and seen by the gate."""
    version, digest = put.facts["version"], put.facts["digest"]
    trained = story.stage(version, "train")
    if digest != (trained.facts["weights"]["digest"] if trained else ""):
        check.found(put.path, f"{put.kind}: version {version} isn't the weights {digest}", ALTERED)
    elif trained is not None and story.stage(version, "gate") is None:
        check.found(put.path, f"{put.kind}: no gate has seen version {version}", ALTERED)


def _served_before(story: Story, trained: Entry) -> list[str]:
    """The digests that were in service before a training."""
    promoted = [str(e.facts["weights"]["digest"]) for e in story.all("promote") if e.seq < trained.seq]
    return promoted + [str(e.facts["digest"]) for e in story.served_by_hand() if e.seq < trained.seq]


def _worked_with(check: Check, story: Story, entry: Entry, current: str) -> None:
    """A round teaches and trains with the weights in service or those of the start, by configuration."""
    used = entry.facts["start"] if entry.stage == "train" else entry.facts["weights"]
    wanted = {current, story.start}
    if entry.stage == "evaluate":
        trained = story.stage(entry.iteration, "train")
        wanted = {trained.facts["weights"]["digest"] if trained else story.start}
    if used not in wanted:
        what = f"{entry.where} worked with {used}, not {' or '.join(sorted(wanted))}"
        check.found(entry.path, what, ALTERED)


def _pointer(check: Check, target: str, wanted: str | None) -> None:
    if wanted is None:
        what = f"leads to {target}, but the weights in service are those that the run began with"
        check.found("promoted", what, "remove the link")
    elif target != wanted:
        remedy = f"`ln -sfn {wanted} promoted` in the run: a crash right after a promotion leaves this"
        check.found("promoted", f"leads to {target}, the weights in service are {wanted}", remedy)
