"""`s2d reproduce TABLE`: settings in, files out."""

from pathlib import Path

from s2d_loop.report.progress import Progress
from s2d_loop.reproduce import page, table4
from s2d_loop.reproduce.engines import SharedEngines
from s2d_loop.reproduce.measure import Setting, reproduce
from s2d_loop.reproduce.plan import find_table, scaled
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
    seed: int,
    out: Path,
    configs: Path,
    progress: Progress,
) -> str:
    """Measure a table and write it; returns the table and where the page is.

    Args:
        settings: the folder of `configs` with a configuration for each task; the testbed's own for the
            testbed and the paper's for any other model unless given.

    Raises:
        BadInputError: no such table, or its configuration can't work.
        S2DError: a run failed; the same command goes on from there.
    """
    if name == table4.NAME:
        return table4.check(configs)
    table = find_table(name)
    settings = settings or (TESTBED if model == TESTBED else PAPER)
    folder = out.absolute() / name / f"{_slug(model)}-seed-{seed}-scale-{scale:g}"
    results = {}
    with terminating(), SharedEngines(folder / "logs") as shared:
        for task in table.tasks:
            path = configs / settings / f"{task}.yaml"
            overrides = [f"run.seed={seed}", f"run.dir={folder / task / 'start'}"]
            overrides += [] if model == TESTBED else [f"model.path={model}"]
            overrides += scaled(path, scale)
            setting = Setting(task, path, tuple(overrides), folder / task)
            results[task] = reproduce(table, setting, shared, progress)
    about = {"model": _named(model), "settings": settings, "scale": f"{scale:g}", "seed": str(seed)}
    if settings != PAPER:
        about["note"] = _INSTRUMENT if model == TESTBED else _OTHER_SETTINGS
    written = page.write(table, results, about, folder)
    return f"{page.markdown(table, results, about)}\nPage: {written}"


def _named(model: str) -> str:
    """A model's own name, without the folders it lies in."""
    return model.rstrip("/").rpartition("/")[2]


def _slug(model: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in _named(model))
