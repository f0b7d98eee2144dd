"""What people said of a run's answers, in files of their own: `labels/RATER/00000001.json` and on.

A rater's labels are a sequence of small immutable files, each published by a conditional create and carrying
the digest of the one before it, as records of the ledger are.  `s2d review` writes them while a driver
works: they take no lease.  A driver reads them when it evaluates and commits how far it read each rater's
(`pins`), so the same decision can be taken again from the same labels.

An answer stands here by its digest, never by its text: nothing of a source's inputs gets into these files,
and `forget` has nothing to look for in them.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from s2d_loop.errors import BadInputError, S2DError
from s2d_loop.records import digest
from s2d_loop.store import ExistsError, Store, shortened

FORMAT = 1
FOLDER = "labels"
Said = Literal["right", "none", "unsure", "undone"]
"""One of the answers is right, none is, the rater can't tell, or takes back what was said before."""

Pins = Mapping[str, Mapping[str, Any]]
"""How far the labels of each rater were read: `through`, a number, and the `digest` of that file."""

_LONGEST = 1 << 20
"""Bytes of a label.  Real ones have some hundred."""
_RATER = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


class LabelError(S2DError):
    """A file of labels is damaged or missing."""


@dataclass(frozen=True, slots=True)
class Label:
    """What a rater said of one input.

    `answer` is the digest of the answer that is right, empty unless `said` is `right`.  `shown` are those of
    the answers there were, System 2's first, whatever order the rater saw them in.
    """

    rater: str
    seq: int
    input_id: str
    task: str
    said: Said
    answer: str
    shown: tuple[str, ...]
    time: str
    nonce: str
    prev: str
    format: int = FORMAT


class _Row(BaseModel):
    """What a label that was read must hold, since it may be a stranger's."""

    model_config = ConfigDict(strict=True)

    input_id: str
    task: str
    said: Said
    answer: str
    shown: list[str]
    time: str
    nonce: str


Standing = Mapping[str, Mapping[str, Label]]
"""By input and rater: each rater's last word on an input, without what was taken back."""


def answer_digest(answer: str) -> str:
    """What an answer is called in a label."""
    return digest("answer", answer)


class Labels:
    """The labels of a run, and the way to add to them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._said: dict[str, list[Label]] = {}
        self._heads: dict[str, str] = {}

    @property
    def raters(self) -> list[str]:
        return sorted(self._said)

    def of(self, rater: str) -> Sequence[Label]:
        """Everything that a rater said, in order."""
        return self._said.get(rater, ())

    @property
    def pins(self) -> dict[str, dict[str, Any]]:
        """How far each rater's labels were read."""
        return {
            rater: {"through": len(self._said[rater]), "digest": self._heads[rater]} for rater in self.raters
        }

    @property
    def standing(self) -> Standing:
        found: dict[str, dict[str, Label]] = {}
        for rater in self.raters:
            for label in self._said[rater]:
                if label.said == "undone":
                    found.get(label.input_id, {}).pop(rater, None)
                else:
                    found.setdefault(label.input_id, {})[rater] = label
        return {name: labels for name, labels in found.items() if labels}

    def refresh(self) -> None:
        """Read whatever was said since.

        Raises:
            LabelError: a file is damaged, missing or out of order.
        """
        for name in self._store.list(FOLDER):
            if name.startswith("."):
                continue
            if _RATER.fullmatch(name) is None:
                raise LabelError(
                    f"{self._store.root}/{FOLDER}/{name} is no rater's folder: move it elsewhere"
                )
            # Listed before it is read: whatever is listed must be reached.
            there = [each for each in self._store.list(f"{FOLDER}/{name}") if each[:1].isdigit()]
            while self._read_next(name):
                pass
            if there and f"{FOLDER}/{name}/{max(there)}" > path_of(name, len(self.of(name))):
                raise self._missing(name)

    def read(self, pins: Pins) -> None:
        """Read exactly as far as an evaluation did.

        Raises:
            LabelError: a file is damaged or missing, or others are there than those that were read then.
        """
        for rater, pin in pins.items():
            while len(self.of(rater)) < pin["through"]:
                if not self._read_next(rater):
                    raise self._missing(rater)
            if self._heads.get(rater) != pin["digest"]:
                raise LabelError(
                    f"{self._store.root}/{path_of(rater, pin['through'])} is not the file that an evaluation "
                    "read: restore it from a copy of the run"
                )

    def append(
        self,
        rater: str,
        *,
        input_id: str,
        task: str,
        said: Said,
        time: str,
        answer: str = "",
        shown: Sequence[str] = (),
    ) -> Label:
        """Publish what a rater says; behind what the same rater said in another window meanwhile."""
        check_rater(rater)
        while True:
            label = Label(
                rater=rater,
                seq=len(self.of(rater)) + 1,
                input_id=input_id,
                task=task,
                said=said,
                answer=answer,
                shown=tuple(shown),
                time=time,
                nonce=uuid.uuid4().hex,
                prev=self._heads.get(rater, ""),
            )
            data = render(label)
            try:
                self._store.create(path_of(rater, label.seq), data)
            except ExistsError:
                self._read_next(rater)
                # An answer can get lost on the way: if what is there is ours, the create had won.
                if self.of(rater)[-1] == label:
                    return label
            else:
                self._add(rater, label, data)
                return label

    def _read_next(self, rater: str) -> bool:
        path = path_of(rater, seq := len(self.of(rater)) + 1)
        data = self._store.read(path)
        if data is None:
            return False
        label = parse(data, rater, seq, self._heads.get(rater, ""), f"{self._store.root}/{path}")
        self._add(rater, label, data)
        return True

    def _add(self, rater: str, label: Label, data: bytes) -> None:
        self._said.setdefault(rater, []).append(label)
        self._heads[rater] = hashlib.sha256(data).hexdigest()

    def _missing(self, rater: str) -> LabelError:
        path = path_of(rater, len(self.of(rater)) + 1)
        return LabelError(
            f"{self._store.root}/{path} is missing, and there are labels behind it: "
            "restore it from a copy of the run"
        )


def read_labels(store: Store, pins: Pins | None = None) -> Labels:
    """The labels there are now, or those that an evaluation read.

    Raises:
        LabelError: a file is damaged or missing.
    """
    labels = Labels(store)
    if pins is None:
        labels.refresh()
    else:
        labels.read(pins)
    return labels


def check_rater(name: str) -> str:
    """The name, if it can be a folder's.

    Raises:
        BadInputError: it can't.
    """
    if _RATER.fullmatch(name) is None:
        raise BadInputError(
            f"--rater {name!r}: a name is up to 32 lower-case letters, digits, _ and -, such as `ada`"
        )
    return name


def path_of(rater: str, seq: int) -> str:
    """Where a label is published, relative to the root."""
    return f"{FOLDER}/{rater}/{seq:08d}.json"


def render(label: Label) -> bytes:
    """The bytes of a label.  They are canonical: nothing else reads back as the same label."""
    row = asdict(label)
    return _canonical({"label": row, "sha256": hashlib.sha256(_canonical(row)).hexdigest()})


def parse(data: bytes, rater: str, seq: int, prev: str, where: str) -> Label:
    """The label that `render` gave `data` for, which must be the rater's number `seq` and follow `prev`.

    Raises:
        LabelError: it is damaged, in another place, of another format, or holds what no label does.
    """
    if len(data) > _LONGEST:
        raise LabelError(f"{where} has {len(data)} bytes, and no label has more than {_LONGEST}: {_ALTERED}")
    try:
        row = json.loads(data)["label"]
        label = Label(**{**row, "shown": tuple(row["shown"])})
        same = render(label) == data
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LabelError(
            f"{where} is damaged ({type(error).__name__}: {shortened(str(error))}); "
            "restore it from a copy of the run"
        ) from error
    if not same:
        raise LabelError(
            f"{where} is damaged (its bytes are not those that were written); restore it from a copy of the run"
        )
    if label.format != FORMAT:
        raise LabelError(
            f"{where} has format {shortened(str(label.format))}; this s2d reads {FORMAT}: use the one that wrote it"
        )
    if (label.rater, label.seq, label.prev) != (rater, seq, prev):
        raise LabelError(f"{where} doesn't follow the label before it: {_ALTERED}")
    try:
        _Row.model_validate(row)
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        raise LabelError(f"{where}: {wrong['loc'][0]}: {wrong['msg']}: {_ALTERED}") from error
    if (label.said == "right") != (label.answer in label.shown):
        raise LabelError(f"{where} says what no label says: {_ALTERED}")
    return label


_ALTERED = "the labels were altered; go back to a copy of the run"


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
