"""What sections say against one another."""

from collections.abc import Iterator, Mapping, Sequence

from s2d_loop.config.generation import EngineConfig
from s2d_loop.config.inputs import HeldOutConfig, SourceConfig
from s2d_loop.config.tasks import TaskConfig


def misfits(
    tasks: Mapping[str, TaskConfig | None],
    sources: Sequence[SourceConfig | None],
    engine: EngineConfig | None,
) -> Iterator[str]:
    """What the sections say against one another, a line each that starts with the key.

    A section that is wrong in itself comes as None, so that one mistake doesn't hide another.
    """
    yield from _wrong_feeds(tasks, sources)
    yield from _doubled_names(sources)
    shares = [1.0 if each is None else each.max_share or 1.0 for each in sources]
    if sum(shares) < 1:
        yield "sources.0.max_share: all sources together may give less than a whole round: raise one"
    if engine is not None and engine.max_model_len is not None:
        yield from _answers_too_long(tasks, engine.max_model_len)


def _wrong_feeds(
    tasks: Mapping[str, TaskConfig | None], sources: Sequence[SourceConfig | None]
) -> Iterator[str]:
    known = ", ".join(sorted(tasks))
    for number, source in enumerate(sources):
        if source is None:
            continue
        for unknown in [each for each in source.tasks if each not in tasks]:
            key = "workloads" if source.workloads else "task"
            yield f"sources.{number}.{key}: no task {unknown!r} (there are: {known})"
        for name, task in tasks.items():
            # With a limit the rest of the file is left to train on: intake passes over what is held out.
            if task is not None and task.heldout.limit is None and _same_rows(source, task.heldout):
                yield (
                    f"sources.{number}.path: this is also the held-out set of tasks.{name}, and held-out inputs "
                    "never train: give one of the two another file or split, or the held-out set a limit"
                )
    fed = {task for source in sources if source is not None for task in source.tasks}
    for name in tasks:
        if name not in fed and None not in sources:
            yield f"tasks.{name}: no source feeds it: add one with `task: {name}` under sources"


def _same_rows(source: SourceConfig, heldout: HeldOutConfig) -> bool:
    if source.type == heldout.type == "dataset":
        return (source.path, source.subset, source.split) == (heldout.path, heldout.subset, heldout.split)
    return source.path == heldout.path


def _doubled_names(sources: Sequence[SourceConfig | None]) -> Iterator[str]:
    first: dict[str, int] = {}
    for number, source in enumerate(sources):
        if source is None:
            continue
        other = first.setdefault(source.source_name, number)
        if other != number:
            yield (
                f"sources.{number}.name: its inputs' ids would start with {source.source_name!r} "
                f"like those of sources.{other}: give one of them another `name`"
            )


def _answers_too_long(tasks: Mapping[str, TaskConfig | None], max_model_len: int) -> Iterator[str]:
    for name, task in tasks.items():
        if task is None:
            continue
        places = {"method.sampling": task.method.sampling, "system1": task.system1}
        places |= {f"method.steps.{step}": sampling for step, sampling in task.method.steps.items()}
        for place, sampling in places.items():
            if sampling.max_tokens >= max_model_len:
                yield (
                    f"tasks.{name}.{place}.max_tokens: {sampling.max_tokens} leaves no room for a prompt "
                    f"in engine.max_model_len {max_model_len}: lower it, or raise max_model_len"
                )
