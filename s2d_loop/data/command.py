"""`s2d data`: makes a set once, or checks one that is there, and says what it is."""

from collections.abc import Sequence
from pathlib import Path

from s2d_loop.data.base import DataSet, Wanted
from s2d_loop.data.check import findings
from s2d_loop.data.folder import Manifest, contents, described, read_manifest, refuse_occupied, write
from s2d_loop.data.promises import broken
from s2d_loop.data.registry import find_set
from s2d_loop.errors import BadInputError


def make_set(
    name: str,
    out: Path,
    *,
    seed: int | None = None,
    origin: str | None = None,
    words: str | None = None,
) -> str:
    """Make a set, unless exactly it is there; returns a summary.

    Raises:
        BadInputError: an option has no effect, something else is there, or the set can't be made.
    """
    data_set = find_set(name)
    for option, given in (("seed", seed), ("from", origin), ("words", words)):
        if given is not None and option not in data_set.takes:
            raise BadInputError(f"--{option} has no effect on {name}: leave it out")
    refuse_occupied(out)
    wanted = Wanted(seed or 0, origin, words)
    made = data_set.make(wanted)
    if wrong := broken(data_set, made.splits):
        raise BadInputError(_listed(f"{name} can't be made of this:", wrong))
    files, command = contents(made), command_line(data_set, wanted)
    manifest = described(data_set, made, files, seed=_seed(data_set, seed), command=command)
    there = out.is_dir() and any(out.iterdir())
    if there:
        _refuse_other(data_set, out, manifest)
    else:
        write(out, files, manifest)
    return summary(data_set, out, manifest, "already there" if there else "made")


def check_set(name: str, folder: Path, *, seed: int | None = None) -> str:
    """A summary of a folder that holds the set.

    Raises:
        BadInputError: it doesn't; every finding is named.
    """
    data_set = find_set(name)
    if seed is not None and "seed" not in data_set.takes:
        raise BadInputError(f"--seed has no effect on {name}: leave it out")
    if found := findings(data_set, folder, seed=_seed(data_set, seed)):
        raise BadInputError(_listed(f"{folder} is not {name} as it should be:", found))
    return summary(data_set, folder, read_manifest(folder), "as it was made")


def command_line(data_set: DataSet, wanted: Wanted) -> str:
    """The command that makes the same again; of a local path the last part, which alone means something elsewhere."""
    parts = ["s2d data", data_set.name]
    parts += [f"--seed {wanted.seed}"] if "seed" in data_set.takes else []
    for option, given in (("from", wanted.origin), ("words", wanted.words)):
        if given is not None:
            local = Path(given).expanduser()
            parts.append(f"--{option} {f'.../{local.resolve().name}' if local.exists() else given}")
    return " ".join(parts)


def summary(data_set: DataSet, folder: Path, manifest: Manifest, state: str) -> str:
    """What is there, beside what the paper has."""
    drawn = "" if manifest.seed is None else f", seed {manifest.seed}"
    lines = [f"{folder}: {manifest.name}{drawn}, {state}"]
    for name, file in manifest.files.items():
        paper = data_set.sizes.get(name)
        if paper is None:
            lines.append(f"  {name:<20} {file.rows:>7,} rows")
            continue
        differs = "" if file.inputs == paper else f"   (the paper: {paper:,} inputs)"
        lines.append(
            f"  {name:<20} {file.rows:>7,} rows {file.inputs:>7,} inputs {file.questions:>7,} questions{differs}"
        )
    lines += [f"  note: {note}" for note in manifest.notes]
    return "\n".join([*lines, f"  source: {manifest.source}", f"  licence: {manifest.licence}"])


def _refuse_other(data_set: DataSet, out: Path, manifest: Manifest) -> None:
    """BadInputError unless the folder holds these very files."""
    found = findings(data_set, out, seed=manifest.seed)
    if not found and read_manifest(out).files != manifest.files:
        found = [f"was made of something else, by `{read_manifest(out).command}`"]
    if found:
        raise BadInputError(
            _listed(f"{out} is not written over: it is not what this command makes:", found)
            + "\n  name another --out, or move it away"
        )


def _seed(data_set: DataSet, seed: int | None) -> int | None:
    return (seed or 0) if "seed" in data_set.takes else None


def _listed(head: str, lines: Sequence[str]) -> str:
    return "\n".join([head, *(f"  {line}" for line in lines)])
