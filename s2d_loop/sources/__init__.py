"""Where inputs come from: unlabeled sources, and held-out sets.

To add a kind: a module with a function that lists its shards, an entry of `_KINDS`, and its name in
`SourceConfig.type`.
"""

import time
from collections.abc import Callable

from s2d_loop import paths
from s2d_loop.config import SourceConfig
from s2d_loop.formats.registry import load_format
from s2d_loop.sources import directory, hub
from s2d_loop.sources.api import Cursor, Delivery, Lister, Source
from s2d_loop.sources.column import PromptTemplate
from s2d_loop.sources.cursor import fold
from s2d_loop.sources.heldout import read_heldout
from s2d_loop.sources.sharded import RowsAs, ShardedSource

__all__ = ["Cursor", "Delivery", "Source", "fold", "open_source", "read_heldout"]

Now = Callable[[], float]


def _files(config: SourceConfig, path: str, where: str, now: Now) -> Lister:
    return directory.lister(config.type, path, where=where, now=now)


def _dataset(config: SourceConfig, path: str, where: str, now: Now) -> Lister:  # noqa: ARG001
    return hub.lister(path, config.subset, config.split, where=where)


_KINDS: dict[str, Callable[[SourceConfig, str, str, Now], Lister]] = {
    "jsonl": _files,
    "parquet": _files,
    "directory": _files,
    "dataset": _dataset,
}


def _rows_as(config: SourceConfig) -> RowsAs | None:
    if config.format is not None:
        return RowsAs(f"format {config.format}", load_format(config.format))
    if config.template is not None:
        return RowsAs(f"template {config.template!r}", PromptTemplate(config.template))
    return None


def open_source(config: SourceConfig, *, now: Now = time.time) -> Source:
    """The source that a configuration names; BadInputError if it isn't there or holds no prompts."""
    where = f"the source {config.source_name} ({config.path})"
    list_shards = _KINDS[config.type](config, paths.resolve(config.path), where, now)
    return ShardedSource(
        config.source_name,
        config.task,
        list_shards,
        where=where,
        column=config.prompt,
        rows_as=_rows_as(config),
        limit=config.limit,
        waits=config.type == "directory",
    )
