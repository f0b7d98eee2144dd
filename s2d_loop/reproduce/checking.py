"""What of a table can be run, found before anything is spent: every distillation and every row, all problems at once.

Whatever needs something that isn't there (a file of MT-bench, a thinking mode) is left out and named; whatever is
there has to work.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2d_loop.config import Config, RayConfig
from s2d_loop.engine.settings import context_of
from s2d_loop.errors import BadInputError
from s2d_loop.preflight import check, model_path
from s2d_loop.records import HeldOut
from s2d_loop.rehearse import THINK, Rows, rehearse
from s2d_loop.reproduce.of_judge import RECORDED_VOTES
from s2d_loop.reproduce.plan import Setting
from s2d_loop.reproduce.table import Distillation, HeldOutSet, Row, Table
from s2d_loop.sources import read_heldout
from s2d_loop.system2.registry import load_method
from s2d_loop.tasks.registry import load_task

_SWITCH = "enable_thinking"
_PAIRS = "".join(
    f'{{"prompt": [{{"role": "user", "content": "Question {n}?"}}], '
    f'"completion": [{{"role": "assistant", "content": "Answer {n}."}}]}}\n'
    for n in range(9)
)


@dataclass(frozen=True, slots=True)
class Ready:
    """What of a table is run: its sets, by set its rows, by task its distillations.

    `left_out` says what isn't and why, `sizes` how many inputs each set holds beside the paper's, and `lacking` what this
    machine is too small for.
    """

    settings: tuple[Setting, ...]
    rows: Mapping[str, tuple[Row, ...]]
    distillations: Mapping[str, tuple[Distillation, ...]]
    left_out: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()


def ready(table: Table, settings: Sequence[Setting]) -> Ready:
    """Find out what of a table can be run, without starting or writing anything.

    Raises:
        BadInputError: something that is there can't work; every problem is named, with what it is of.
    """
    with made_up_pairs() as pairs:
        checking = _Checking(pairs)
        there = [each for each in settings if checking.is_there(each)]
        rows: dict[str, tuple[Row, ...]] = {}
        distillations: dict[str, tuple[Distillation, ...]] = {}
        for task in dict.fromkeys(each.task for each in there):
            its = [each for each in there if each.task == task]
            with checking.of(task):
                thinking = checking.task(its[0])
                rows |= {each.of.name: checking.rows_of(table, each, thinking) for each in its}
                needed = {name for each in its for row in rows[each.of.name] for name in row.needs_weights}
                distillations[task] = tuple(each for each in table.distillations if each.name in needed)
                checking.runs(its[0], distillations[task])
                checking.measured(its, rows)
        if not there:
            raise BadInputError(f"{table.name}: there is nothing to measure: {'; '.join(checking.reasons)}")
        checking.refuse(table.name)
        return Ready(
            tuple(there),
            rows,
            distillations,
            checking.reasons,
            tuple(checking.sizes),
            tuple(dict.fromkeys(checking.lacking)),
        )


@contextmanager
def made_up_pairs() -> Iterator[Path]:
    """A file of examples, for rows whose own a distillation has yet to keep."""
    with tempfile.TemporaryDirectory() as folder:
        pairs = Path(folder, "pairs.jsonl")
        pairs.write_text(_PAIRS)
        yield pairs


def elsewhere(config: Config) -> Config:
    """The same configuration, for a machine with enough of everything."""
    changes = {
        "ray": RayConfig(address="auto"),
        "run": config.run.model_copy(update={"min_free_gb": 0.0}),
    }
    return config.model_copy(update=changes)


class _Checking:
    """Collects what is found."""

    def __init__(self, pairs: Path) -> None:
        self.left_out: dict[str, list[str]] = {}
        """Who, by the reason."""
        self.sizes: list[str] = []
        self.lacking: list[str] = []
        self._pairs = pairs
        self._problems: dict[str, list[str]] = {}
        self._tried: dict[str, list[str]] = {}
        self._read: dict[str, list[HeldOut]] = {}

    @property
    def reasons(self) -> tuple[str, ...]:
        """What is left out, and why."""
        return tuple(f"{', '.join(dict.fromkeys(who))}: {why}" for why, who in self.left_out.items())

    @contextmanager
    def of(self, who: str) -> Iterator[None]:
        """Problems inside are this one's."""
        try:
            yield
        except BadInputError as error:
            self._problems.setdefault(str(error), []).append(who)

    def refuse(self, table: str) -> None:
        """Raises BadInputError with all that was found."""
        if self._problems:
            listed = "".join(
                f"\n  {', '.join(dict.fromkeys(who))}:"
                + "".join(f"\n    {line}" for line in text.splitlines())
                for text, who in self._problems.items()
            )
            raise BadInputError(f"{table} can't be run as it is configured (nothing was started):{listed}")

    def is_there(self, setting: Setting) -> bool:
        """Whether a set has its file."""
        return not setting.of.needs or self._file(setting, setting.of.needs, setting.of.name)

    def _file(self, setting: Setting, name: str, who: str) -> bool:
        file = setting.data / name
        if not file.is_file():
            folder = Path(name).parent
            why = f"there is no {file} (`s2d data {folder} --out DATA/{folder}` makes it, for --data DATA)"
            self.left_out.setdefault(why, []).append(who)
        return file.is_file()

    def task(self, setting: Setting) -> bool:
        """Check what a task starts from; returns whether its model has a thinking mode."""
        config = setting.start()
        if here := _problems(config):
            anywhere = _problems(elsewhere(config))
            self.lacking += [line for line in here if line not in anywhere]
            if anywhere:
                raise BadInputError("\n".join(anywhere))
        return _SWITCH in config.model.chat_template_kwargs

    def rows_of(self, table: Table, setting: Setting, thinking: bool) -> tuple[Row, ...]:
        """The rows that are measured on a set."""
        return tuple(row for row in table.rows_on(setting.of.name) if self._able(setting, row, thinking))

    def _able(self, setting: Setting, row: Row, thinking: bool) -> bool:
        if row.thinking and not thinking:
            why = f"model.chat_template_kwargs has no {_SWITCH}, by which a thinking mode is switched"
            self.left_out.setdefault(why, []).append(row.key)
            return False
        if row.system == "recorded":
            return self._file(setting, RECORDED_VOTES, f"{setting.of.name}, {row.key}")
        return True

    def runs(self, setting: Setting, distillations: Sequence[Distillation]) -> None:
        """Check the runs; those that are the start's in everything but the method and what is kept have its checks."""
        checked = _apart_from_method(setting.start(), setting.task)
        for each in distillations:
            with self.of(f"{setting.task}, {each.name}"):
                config = setting.run(each)
                if _apart_from_method(config, setting.task) != checked:
                    check(elsewhere(config), hash_weights=False)
                else:
                    self._program(config, setting, system2=True)

    def measured(self, settings: Sequence[Setting], rows: Mapping[str, Sequence[Row]]) -> None:
        """Check what every row asks, and how, on each set of a task."""
        for setting in settings:
            for row in rows[setting.of.name]:
                with self.of(f"{setting.of.name}, {row.key}"):
                    self._row(setting, row)
            with self.of(setting.of.name):
                items = self._items(setting.row(Row("", "", "", "system1")), setting.task)
                self.sizes.append(_sizes(setting.of, items))

    def _row(self, setting: Setting, row: Row) -> None:
        config = setting.row(row, examples=self._pairs if row.shots_of else None)
        self._program(config, setting, system2=row.system in ("system2", "recorded"))

    def _program(self, config: Config, setting: Setting, *, system2: bool) -> None:
        """Check a program, its options and, where that isn't known yet, what it asks."""
        task = config.tasks[setting.task]
        load_task(task.parser, task.curate.perturbations)
        if system2:
            load_method(task.method.name, task.method.options)
        else:
            one = task.system1_method
            load_method(one.name, one.options, key="system1_method")
        asks = not system2 or task.method.name == THINK
        if asks and (problems := self._asked(config, setting)):
            raise BadInputError("\n".join(problems))

    def _asked(self, config: Config, setting: Setting) -> list[str]:
        """What comes of asking the held-out inputs on paper; rows that ask alike are tried once."""
        key, task = config.model_dump_json(), setting.task
        if key not in self._tried:
            model, items = model_path(config.model.path), self._items(config, task)
            rows = [Rows(config.tasks[task].heldout.path, [each.input for each in items], all_needed=True)]
            # A row that may say more than the configuration's own (a judge's text) is asked the same, which has been
            # tried; its longest reply needn't fit behind the longest prompt.
            more = config.tasks[task].system1.max_tokens > setting.start().tasks[task].system1.max_tokens
            context = None if more else config.engine.max_model_len or context_of(model)
            self._tried[key] = list(rehearse(config, model, context, rows, {task: items}).problems)
        return self._tried[key]

    def _items(self, config: Config, task: str) -> list[HeldOut]:
        heldout = config.tasks[task].heldout
        key = heldout.model_dump_json()
        if key not in self._read:
            self._read[key] = read_heldout(heldout, task)
        return self._read[key]


def _problems(config: Config) -> list[str]:
    try:
        check(config, hash_weights=False)
    except BadInputError as error:
        return str(error).split("\n")
    return []


def _apart_from_method(config: Config, task: str) -> dict[str, Any]:
    """All that is checked of a run but its method and what it keeps."""
    plain = config.model_dump(exclude={"run", "pool"})
    for key in ("method", "curate", "distill", "direct_samples"):
        del plain["tasks"][task][key]
    del plain["train"]["start"]
    return plain


def _sizes(of: HeldOutSet, items: Sequence[HeldOut]) -> str:
    """How many held-out inputs a set has, beside the paper's."""
    found = Counter(each.category for each in items) if len(of.sizes) > 1 else Counter({"": len(items)})
    said = _by_class(found)
    same = found == Counter(of.sizes)
    return f"{of.name}: {said} held-out inputs, {'as in the paper' if same else f'the paper has {_by_class(of.sizes)}'}"


def _by_class(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {name}".strip() for name, number in sizes.items())
