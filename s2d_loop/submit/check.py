"""What can be said of a configuration on a machine that is not the cluster.

The job checks everything again, in its first seconds: a path that is only there is no problem here.
But a path that means something else there is one, and so is anything wrong in what is here.
"""

import glob
import importlib.util
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from s2d_loop.chat.loading import chat_settings
from s2d_loop.config import Config, MethodConfig, ProgramConfig, TaskConfig
from s2d_loop.errors import BadInputError
from s2d_loop.paths import TESTBED
from s2d_loop.preflight import check_recorded, model_path
from s2d_loop.sources import open_source, read_canaries, read_general, read_heldout
from s2d_loop.system2.few_shot import shots
from s2d_loop.system2.registry import load_method
from s2d_loop.tasks.data import is_data_task
from s2d_loop.tasks.registry import load_task

Look = Callable[[], object]


def check_from_here(config: Config) -> list[str]:
    """Check what is here; returns the settings that only the cluster can check.

    Raises:
        BadInputError: with every problem found, a line each.
    """
    problems = list(_elsewhere(config))
    unseen: list[str] = []
    for key, path, look in (*_files(config), *_plugins(config)):
        if any(problem.startswith(f"{key}:") for problem in problems):
            continue
        if look is None:
            unseen.append(f"{key} ({path})")
        else:
            with _collecting(problems, key):
                look()
    if problems:
        raise BadInputError("\n".join([*problems, "(nothing was submitted)"]))
    return unseen


@contextmanager
def _collecting(problems: list[str], key: str) -> Iterator[None]:
    try:
        yield
    except BadInputError as error:
        problems.append(f"{key}: {error}")


def _elsewhere(config: Config) -> Iterator[str]:
    """Settings that are right for `s2d run` here, and name something else on a cluster."""
    if config.ray.address is not None:
        yield "ray.address: a submitted run uses the cluster that it is sent to: remove this setting"
    for key, path in (("run.dir", config.run.dir), ("run.weights_dir", config.run.weights_dir)):
        if path is not None and _is_relative(path):
            yield (
                f"{key}: {path!r} would be inside the job's own folder on the cluster, which goes with the "
                "job: give an absolute path that every node sees (run.dir may also be a URI)"
            )
    for key, path, _ in _files(config):
        if _is_relative(path):
            yield (
                f"{key}: {path!r} starts at the current directory, which is another one on the cluster: "
                "give an absolute path that the cluster sees"
            )


def _files(config: Config) -> Iterator[tuple[str, str, Look | None]]:
    """Settings that name files to read, with how to look at them where they are here.

    Names on the hub are left out: it is the cluster that fetches them.
    """
    model = config.model.path
    if model.count("/") != 1 or not _is_hub_name(model):
        yield "model.path", model, _if_here(model, partial(model_path, model))
    if config.model.chat_template is not None:
        template = config.model.chat_template
        yield "model.chat_template", template, _if_here(template, partial(chat_settings, config.model))
    for number, source in enumerate(config.sources):
        if source.type != "dataset" or not _is_hub_name(source.path):
            yield f"sources.{number}.path", source.path, _if_here(source.path, partial(open_source, source))
    for name, task in config.tasks.items():
        path = task.heldout.path
        if task.heldout.type != "dataset" or not _is_hub_name(path):
            look = _if_here(path, partial(read_heldout, task.heldout, name))
            yield f"tasks.{name}.heldout.path", path, look
        for key, program in _programs(name, task):
            if (examples := _examples(program)) is not None:
                yield f"{key}.options.examples", examples, _if_here(examples, partial(shots, examples, 1))
        if is_data_task(task.parser):
            look = partial(load_task, task.parser, task.curate.perturbations)
            yield f"tasks.{name}.parser", task.parser, _if_here(task.parser, look)
    for name, canary in config.canaries.items():
        look = _if_here(canary.path, partial(read_canaries, name, canary))
        yield f"canaries.{name}.path", canary.path, look
    general = config.evaluate.general
    if general is not None and general.type != "dataset":
        yield "evaluate.general.path", general.path, _if_here(general.path, partial(read_general, general))
    recorded = config.generate.recorded
    whole = partial(check_recorded, config) if all(Path(path).exists() for path in recorded) else None
    for number, path in enumerate(recorded):
        yield f"generate.recorded.{number}", path, whole


def _programs(name: str, task: TaskConfig) -> Iterator[tuple[str, ProgramConfig | MethodConfig]]:
    yield f"tasks.{name}.method", task.method
    yield f"tasks.{name}.system1_method", task.system1_method


def _examples(program: ProgramConfig | MethodConfig) -> str | None:
    """The file that a few-shot program reads."""
    path = program.options.get("examples")
    return path if isinstance(path, str) else None


def _plugins(config: Config) -> Iterator[tuple[str, str, Look | None]]:
    """The programs and tasks that are named; a user's own may be installed on the cluster only."""
    for name, task in config.tasks.items():
        for key, program in _programs(name, task):
            load: Look = partial(load_method, program.name, program.options, key.rpartition(".")[2])
            examples = _examples(program)
            here = examples is None or Path(examples).exists()
            yield key, program.name, load if here and _is_importable(program.name) else None
        parser = task.parser
        if not is_data_task(parser):
            load = partial(load_task, parser, task.curate.perturbations)
            yield f"tasks.{name}.parser", parser, load if _is_importable(parser) else None


def _is_importable(plugin: str) -> bool:
    """Whether the package of `package.module:name` is here; what is no such name is wrong anywhere."""
    module, colon, _ = plugin.partition(":")
    package = module.partition(".")[0]
    return not (colon and package) or importlib.util.find_spec(package) is not None


def _if_here(path: str, look: Look) -> Look | None:
    return look if path.startswith(TESTBED) or Path(path).exists() or _matches(path) else None


def _matches(pattern: str) -> bool:
    root = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), Path(pattern).parts))
    rest = Path(pattern).relative_to(root)
    return rest.parts != () and next(root.glob(str(rest)), None) is not None


def _is_hub_name(path: str) -> bool:
    return not path.startswith((".", "/", "~")) and "://" not in path and not Path(path).exists()


def _is_relative(path: str) -> bool:
    return "://" not in path and not path.startswith("/")
