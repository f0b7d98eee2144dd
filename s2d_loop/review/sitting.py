"""One rater's way through what there is to label, one input at a time and blind."""

import random
import threading
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from s2d_loop.evaluate.agreement import agreements
from s2d_loop.labels import Labels, Standing, answer_digest
from s2d_loop.ledger import Clock
from s2d_loop.records import digest
from s2d_loop.review.items import Item
from s2d_loop.terminal import visible

UNSURE = -1
NONE_OF_THESE = 0


class StaleError(Exception):
    """A label is for another input than the one that is shown now."""


class Sitting:
    """What one rater has labelled and what comes next; safe to use from several threads.

    What it says of itself (`shown`) names neither a system nor a vote: answers come in an order that is
    random by rater and input.
    """

    def __init__(self, rater: str, items: Sequence[Item], labels: Labels, clock: Clock) -> None:
        self.rater = rater
        self._items = list(items)
        self._labels = labels
        self._clock = clock
        self._lock = threading.Lock()

    def shown(self) -> dict[str, Any]:
        """The next input and its answers, how far the rater is, and how raters agree."""
        with self._lock:
            return self._shown()

    def label(self, key: str, choice: int) -> dict[str, Any]:
        """Label the input that is shown; returns what is shown next.

        Args:
            key: which input was shown; another one is a StaleError.
            choice: the number of the right answer as shown, from 1; or `NONE_OF_THESE`, or `UNSURE`.

        Raises:
            StaleError: it isn't shown any more: it was labelled in another window.
            ValueError: there is no such answer.
        """
        with self._lock:
            item = self._next(self._labels.standing)
            if item is None or key != _key(item):
                raise StaleError
            answers = self._in_order(item)
            if not UNSURE <= choice <= len(answers):
                raise ValueError(f"there is no answer {choice}: there are {len(answers)}")
            self._labels.append(
                self.rater,
                input_id=item.input.id,
                task=item.input.task,
                said="right" if choice > 0 else "none" if choice == NONE_OF_THESE else "unsure",
                answer=answer_digest(answers[choice - 1]) if choice > 0 else "",
                shown=[answer_digest(answer) for answer in item.answers],
                time=self._now(),
            )
            return self._shown()

    def undo(self) -> dict[str, Any]:
        """Take back the rater's newest label that stands; its input is shown again."""
        with self._lock:
            standing = self._labels.standing
            mine = [
                x for x in self._labels.of(self.rater) if standing.get(x.input_id, {}).get(self.rater) is x
            ]
            if mine:
                last = mine[-1]
                self._labels.append(
                    self.rater, input_id=last.input_id, task=last.task, said="undone", time=self._now()
                )
            return self._shown()

    def _shown(self) -> dict[str, Any]:
        self._labels.refresh()
        standing = self._labels.standing
        done = sum(self._is_done(item, standing) for item in self._items)
        item = self._next(standing)
        return {
            "rater": self.rater,
            "done": done,
            "all": len(self._items),
            "agreement": [asdict(each) for each in agreements(standing)],
            "item": None
            if item is None
            else {
                "key": _key(item),
                "turns": [[m.role, visible(m.content)] for m in item.input.messages],
                "answers": [visible(answer) for answer in self._in_order(item)],
            },
        }

    def _next(self, standing: Standing) -> Item | None:
        return next((item for item in self._items if not self._is_done(item, standing)), None)

    def _is_done(self, item: Item, standing: Standing) -> bool:
        """Labelled, and no answer came since that a rater who found none right has not seen."""
        label = standing.get(item.input.id, {}).get(self.rater)
        if label is None:
            return False
        return label.said != "none" or {answer_digest(answer) for answer in item.answers} <= set(label.shown)

    def _in_order(self, item: Item) -> list[str]:
        """The answers in this rater's order."""
        return random.Random(digest(self.rater, item.input.id)).sample(item.answers, len(item.answers))

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock.now(), UTC).isoformat(timespec="seconds")


def _key(item: Item) -> str:
    """Names an input to the page: its id would tell where it is from."""
    return digest("key", item.input.id)
