"""`s2d reproduce TABLE`: settings in, files out."""

from collections.abc import Sequence
from pathlib import Path

from s2d_loop.report.progress import Progress
from s2d_loop.reproduce import page, table4
from s2d_loop.reproduce import seeds as across
from s2d_loop.reproduce.engines import SharedEngines
from s2d_loop.reproduce.measure import Result, Setting, reproduce
from s2d_loop.reproduce.plan import find_table, scaled
from s2d_loop.reproduce.tables import Table
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


def reproduce_table(
    name: str,
    *,
    model: str,
    settings: str | None,
    scale: float,
    seeds: Sequence[int],
    out: Path,
    configs: Path,
    progress: Progress,
) -> str:
    """Measure a table and write it; returns the table and where the page is.

    Args:
        settings: the folder of `configs` with a configuration for each task; the testbed's own for the
            testbed and the paper's for any other model unless given.
        seeds: with several, the table is of their means and ranges.

    Raises:
        BadInputError: no such table, or its configuration can't work.
        S2DError: a run failed; the same command goes on from there.
    """
    if name == table4.NAME:
        return table4.check(configs)
    table = find_table(name)
    settings = settings or (TESTBED if model == TESTBED else PAPER)
    of = f"{_slug(model)}-{_slug(settings)}"
    pages = []
    for seed in seeds:
        chosen = [f"run.seed={seed}"] + ([] if model == TESTBED else [f"model.path={model}"])
        folder = out.absolute() / f"{of}-seed-{seed}-scale-{scale:g}"
        results = _measured(table, configs / settings, chosen, scale, folder, progress)
        about = {"model": _named(model), "settings": settings, "scale": f"{scale:g}", "seed": str(seed)}
        if settings != PAPER:
            about["note"] = _INSTRUMENT if model == TESTBED else _OTHER_SETTINGS
        pages.append(page.write(table, results, about, folder / name))
        text = page.markdown(table, results, about)
    if len(pages) > 1:
        text = across.markdown(table, across.read([each.with_suffix(".json") for each in pages]))
        (out / f"{of}-scale-{scale:g}-{name}.md").write_text(text)
    return "\n".join([text, *(f"Page: {each}" for each in pages)])


def _measured(
    table: Table, configs: Path, chosen: Sequence[str], scale: float, folder: Path, progress: Progress
) -> dict[str, dict[str, Result]]:
    results = {}
    with terminating(), SharedEngines(folder / "logs") as shared:
        for task in table.tasks:
            path, runs = configs / f"{task}.yaml", folder / "runs" / task
            overrides = (*chosen, f"run.dir={runs / 'start'}", *scaled(path, scale))
            setting = Setting(task, path, overrides, folder / table.name / "rows" / task, runs)
            results[task] = reproduce(table, setting, shared, progress)
    return results


def _named(model: str) -> str:
    """A model's own name, without the folders it lies in."""
    return model.rstrip("/").rpartition("/")[2]


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in _named(name))
