"""`s2d reproduce TABLE`: settings in, files out."""

from pathlib import Path

from s2d_loop.report.progress import Progress
from s2d_loop.reproduce import page, table4
from s2d_loop.reproduce.measure import Setting, reproduce
from s2d_loop.reproduce.plan import find_table, scaled

TESTBED = "testbed"
_INSTRUMENT = (
    "The tiny model that ships with the project is an instrument: it shows that every row of the table runs "
    "and measures what it says. Its figures are no evidence about large models."
)


def reproduce_table(
    name: str, model: str, scale: float, seed: int, out: Path, configs: Path, progress: Progress
) -> str:
    """Measure a table and write it; returns the table and where the page is.

    Raises:
        BadInputError: no such table, or its configuration can't work.
        S2DError: a run failed; the same command goes on from there.
    """
    if name == table4.NAME:
        return table4.check(configs)
    table = find_table(name)
    folder = out.absolute() / name / f"{_slug(model)}-seed-{seed}-scale-{scale:g}"
    results = {}
    for task in table.tasks:
        path = configs / (TESTBED if model == TESTBED else "paper") / f"{task}.yaml"
        overrides = [f"run.seed={seed}", f"run.dir={folder / task / 'start'}"]
        overrides += [] if model == TESTBED else [f"model.path={model}"]
        overrides += scaled(path, scale)
        results[task] = reproduce(table, Setting(task, path, tuple(overrides), folder / task), progress)
    about = {"model": model, "scale": f"{scale:g}", "seed": str(seed)}
    if model == TESTBED:
        about["note"] = _INSTRUMENT
    written = page.write(table, results, about, folder)
    return f"{page.markdown(table, results, about)}\nPage: {written}"


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text.rstrip("/").rpartition("/")[2])
