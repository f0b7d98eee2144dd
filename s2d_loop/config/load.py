"""From a file and overrides to a checked configuration, or one error that names all that is wrong."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from s2d_loop.config import overrides as overriding
from s2d_loop.config.base import Tree
from s2d_loop.config.document import Document, read
from s2d_loop.config.generation import EngineConfig
from s2d_loop.config.inputs import SourceConfig
from s2d_loop.config.misfits import misfits
from s2d_loop.config.problems import Key, error
from s2d_loop.config.secrets import literal_secrets
from s2d_loop.config.tasks import TaskConfig
from s2d_loop.config.tree import Config
from s2d_loop.config.words import plain

S = TypeVar("S", bound=Tree)


def load(path: str, overrides: Sequence[str] = ()) -> Config:
    """The configuration in a YAML file, with `key.sub=value` overrides written over it.

    Raises BadInputError that lists everything that is wrong at once: the file and line or the
    override, the key, and what to write.
    """
    document = read(path)
    overriding.apply(document, overrides)
    try:
        config = Config.model_validate(document.data)
    except ValidationError as err:
        for key, text in _found(err, document.data):
            document.report(key, text)
    for key, text in literal_secrets(document.data):
        document.report(key, text)
    if document.problems:
        raise error(_subject(document), document.problems)
    return config


def _found(err: ValidationError, data: dict[str, Any]) -> Iterator[tuple[Key, str]]:
    details = err.errors(include_url=False)
    for detail in details:
        yield from plain(detail)
    if any(detail["loc"] for detail in details):  # then the rules between sections didn't run
        for line in misfits(*_sound_parts(data)):
            name, _, text = line.partition(": ")
            yield tuple(int(part) if part.isdigit() else part for part in name.split(".")), text


def _sound_parts(
    data: dict[str, Any],
) -> tuple[dict[str, TaskConfig | None], list[SourceConfig | None], EngineConfig | None]:
    """The sections that are right in themselves; None for each of the others."""
    tasks, sources = data.get("tasks"), data.get("sources")
    return (
        {name: _sound(TaskConfig, task) for name, task in tasks.items()} if isinstance(tasks, dict) else {},
        [_sound(SourceConfig, each) for each in sources] if isinstance(sources, list) and tasks else [None],
        _sound(EngineConfig, data.get("engine", {})),
    )


def _sound(section: type[S], data: Any) -> S | None:
    try:
        return section.model_validate(data)
    except ValidationError:
        return None


def _subject(document: Document) -> str:
    return f"{document.subject} (nothing was started)"
