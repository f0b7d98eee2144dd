"""`s2d reproduce TABLE`: settings in, files out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from s2d_loop.errors import BadInputError
from s2d_loop.paths import TESTBED as SHIPPED
from s2d_loop.paths import resolve
from s2d_loop.report.progress import Progress
from s2d_loop.reproduce import estimate, page, table4
from s2d_loop.reproduce import seeds as across
from s2d_loop.reproduce.checking import Ready, ready
from s2d_loop.reproduce.engines import SharedEngines
from s2d_loop.reproduce.estimate import Rates
from s2d_loop.reproduce.measure import reproduce
from s2d_loop.reproduce.plan import DATA, Setting, find_table, located, meant_for, measured_on, scaled
from s2d_loop.reproduce.table import Table
from s2d_loop.stop import terminating

TESTBED, PAPER = "testbed", "paper"
_INSTRUMENT = (
    "The tiny model that ships with the project is an instrument: it shows that every row of the table runs "
    "and measures what it says. Its figures are no evidence about large models."
)

_OTHER_SETTINGS = (
    "Settings other than the paper's: this shows that the rows run on this model and these data, and nothing "
    "about the paper's claims."
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asked for.

    `settings` is the folder of `configs` with a configuration for each task: the testbed's own for the testbed and the
    paper's for any other model unless given.  `overrides` are `key=value`, `data` is where `s2d data` put the sets, and
    with `validation` rows are measured on the validation sets, so that choices needn't look at the test.
    """

    model: str = TESTBED
    settings: str | None = None
    overrides: tuple[str, ...] = ()
    scale: float = 1.0
    validation: bool = False
    data: Path | None = None
    out: Path = Path("runs/reproduce")
    configs: Path = Path("configs")

    @property
    def folder(self) -> Path:
        """The configurations."""
        return self.configs / self._settings

    @property
    def data_folder(self) -> Path:
        """Where the sets are that a configuration doesn't name: the tiny models have small ones of their own."""
        if self.data is None and self._settings == TESTBED:
            return Path(resolve(f"{SHIPPED}data"))
        return self.data or DATA

    @property
    def _settings(self) -> str:
        return self.settings or (TESTBED if self.model == TESTBED else PAPER)

    @property
    def name(self) -> str:
        """What results are called after."""
        tail = "-validation" if self.validation else ""
        return f"{_slug(self.model)}-{_slug(self._settings)}{tail}-scale-{self.scale:g}"

    def about(self) -> dict[str, str]:
        """For people."""
        said = {"model": _named(self.model), "settings": self._settings, "scale": f"{self.scale:g}"}
        if self.validation:
            said["split"] = "validation"
        if self.overrides:
            said["changed"] = " ".join(self.overrides)
        return said

    def notes(self, found: Ready) -> list[str]:
        """What a reader of a table should know of how it came to be."""
        kind = []
        if self._settings != PAPER:
            kind.append(_INSTRUMENT if self.model == TESTBED else _OTHER_SETTINGS)
        elif self.overrides or self.scale != 1:
            kind.append(_OTHER_SETTINGS)
        return [
            *kind,
            *(f"Held out: {each}." for each in found.sizes),
            *(f"Left out: {each}." for each in found.left_out),
        ]


def reproduce_table(name: str, wanted: Wanted, seeds: Sequence[int], progress: Progress) -> str:
    """Measure a table and write it; returns the table and where the page is.

    Args:
        seeds: with several, the table is of their means and ranges.

    Raises:
        BadInputError: no such table, or something of it can't work: nothing was started.
        S2DError: a run failed; the same command goes on from there.
    """
    if name == table4.NAME:
        return table4.check(wanted.configs)
    table = find_table(name)
    pages = []
    for seed in seeds:
        folder = _folder(wanted, seed)
        found = ready(table, settings_of(table, wanted, seed))
        if found.lacking:
            raise BadInputError("\n".join(found.lacking))
        for each in (*found.left_out, *found.sizes):
            progress.note(each)
        with terminating(), SharedEngines(folder / "logs") as shared:
            results = reproduce(table, found, shared, progress)
        about, notes = {**wanted.about(), "seed": str(seed)}, wanted.notes(found)
        tail = "-validation" if wanted.validation else ""
        pages.append(page.write(table, results, about, folder / f"{name}{tail}", notes))
        text = page.markdown(table, results, about, notes)
    if len(pages) > 1:
        text = across.markdown(table, across.read([each.with_suffix(".json") for each in pages]))
        (wanted.out / f"{wanted.name}-{name}.md").write_text(text)
    return "\n".join([text, *(f"Page: {each}" for each in pages)])


def check_table(name: str, wanted: Wanted, rates: Rates) -> str:
    """What a table would run and cost, and what it would leave out; starts and writes nothing.

    Raises:
        BadInputError: no such table, or something of it can't work; every problem is named.
    """
    if name == table4.NAME:
        return table4.check(wanted.configs)
    table = find_table(name)
    found = ready(table, settings_of(table, wanted, seed=0))
    config = found.settings[0].start()
    ranks = config.engine.tensor_parallel_size * config.engine.pipeline_parallel_size
    said = [
        f"Wants at once: {config.engine.num_engines} engines of {ranks} GPUs, and {config.train.num_workers} train workers "
        f"of {config.train.gpus_per_worker:g}.",
        *(f"Held out: {each}." for each in found.sizes),
        *(f"Left out: {each}." for each in found.left_out),
        *(f"Not on this machine: {each}" for each in found.lacking),
    ]
    about = ", ".join(f"{key} {value}" for key, value in wanted.about().items())
    return (
        f"# {table.title}\n\n{about}. Every line below can work; nothing was started.\n\n"
        f"{estimate.markdown(estimate.costs(table, found, rates), rates)}\n\n" + "\n".join(said)
    )


def settings_of(table: Table, wanted: Wanted, seed: int) -> list[Setting]:
    """The configuration of each of a table's sets.

    Raises:
        BadInputError: there is none, or an override is of another task.
    """
    folder = _folder(wanted, seed)
    found = []
    for each in table.sets:
        path = wanted.folder / f"{each.task}.yaml"
        overrides = (
            *located(path, wanted.data_folder),
            f"run.seed={seed}",
            *([] if wanted.model == TESTBED else [f"model.path={wanted.model}"]),
            *scaled(path, wanted.scale),
            *meant_for(each.task, table.tasks, wanted.overrides),
        )
        measured = measured_on(each, path, overrides, validation=wanted.validation, scale=wanted.scale)
        rows, runs = folder / "rows" / each.name, folder / "runs" / each.task
        found.append(Setting(each, path, overrides, rows, runs, wanted.data_folder, measured))
    return found


def _folder(wanted: Wanted, seed: int) -> Path:
    """Where a seed's runs, rows and pages go.  Runs are the same whatever they are measured on."""
    return (
        wanted.out.absolute()
        / f"{_slug(wanted.model)}-{_slug(wanted.folder.name)}-seed-{seed}-scale-{wanted.scale:g}"
    )


def _named(model: str) -> str:
    """A model's own name, without the folders it lies in."""
    return model.rstrip("/").rpartition("/")[2]


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in _named(name))
