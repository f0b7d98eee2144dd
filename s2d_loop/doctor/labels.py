"""What people said (`labels/`): every file whole and in order, and there as far as evaluations read it."""

import hashlib
import json
import re

from s2d_loop.doctor.chain import canonical
from s2d_loop.doctor.findings import ALTERED, RESTORE, Check, Checkup
from s2d_loop.doctor.root import RefusedError, Root, read
from s2d_loop.doctor.story import Story

LABEL = re.compile(r"labels/([a-z0-9][a-z0-9_-]{0,31})/(\d{8})\.json")
_FORMAT = 1
_LONGEST = 1 << 20
_SAID = ("right", "none", "unsure", "undone")


def check_labels(checkup: Checkup, root: Root, story: Story) -> None:
    """A rater's labels have no gap, each follows the one before it, and evaluations read nothing else."""
    with checkup.check("labels of people whole, as evaluations read them", "labels") as check:
        numbers: dict[str, int] = {}
        for path, _ in root.files():
            if name := LABEL.fullmatch(path):
                numbers[name[1]] = max(numbers.get(name[1], 0), int(name[2]))
        heads = {rater: _heads(check, root, rater, last) for rater, last in sorted(numbers.items())}
        for entry in story.entries:
            pins = entry.facts.get("labels", {}) if entry.stage == "evaluate" else {}
            for rater, pin in pins.items():
                there = heads.get(rater, [])
                through = pin["through"]
                if len(there) < through or there[through - 1] != pin["digest"]:
                    check.found(
                        f"labels/{rater}/{through:08d}.json",
                        f"is missing, damaged or not what {entry.where} read",
                        RESTORE,
                    )


def _heads(check: Check, root: Root, rater: str, last: int) -> list[str]:
    """The digests of a rater's files, up to the first that is missing or damaged."""
    heads: list[str] = []
    for seq in range(1, last + 1):
        check.looked += 1
        path = f"labels/{rater}/{seq:08d}.json"
        try:
            data = read(root, path)
        except RefusedError as error:
            check.found(path, f"can't be read: {error}", RESTORE)
            break
        if data is None:
            check.found(path, "is missing, and there are labels behind it", RESTORE)
            break
        if wrong := _wrong(data, rater, seq, heads[-1] if heads else ""):
            check.found(path, wrong, RESTORE if wrong.startswith("is damaged") else ALTERED)
            break
        heads.append(hashlib.sha256(data).hexdigest())
    return heads


def _wrong(data: bytes, rater: str, seq: int, prev: str) -> str | None:
    if len(data) > _LONGEST:
        return f"has {len(data):,} bytes, and no label has more than {_LONGEST:,}"
    try:
        envelope = json.loads(data)
        label = envelope["label"]
        sound = hashlib.sha256(canonical(label)).hexdigest() == envelope["sha256"]
        same = canonical({"label": label, "sha256": envelope["sha256"]}) == data
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return f"is damaged: it isn't a label ({type(error).__name__})"
    if not sound or not same:
        return "is damaged: its bytes aren't those that were written"
    if label["format"] != _FORMAT:
        return f"has format {label['format']}, and {_FORMAT} is known here"
    if (label["rater"], label["seq"], label["prev"]) != (rater, seq, prev):
        return "doesn't follow the label before it"
    if label["said"] not in _SAID or (label["said"] == "right") != (label["answer"] in label["shown"]):
        return "says what no label says"
    return None
