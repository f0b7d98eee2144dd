"""Where inputs come from: unlabeled sources, and held-out sets.

To add a kind: a module with a function that lists its shards, an entry of `_KINDS`, and its name in
`SourceConfig.type`.
"""

import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from s2d_loop import paths
from s2d_loop.config import SourceConfig
from s2d_loop.errors import BadInputError
from s2d_loop.formats.registry import load_format
from s2d_loop.formats.requests import Requests, constant_systems
from s2d_loop.sources import delta, directory, hub, kafka, streamed
from s2d_loop.sources.api import Cursor, Delivery, Lister, Row, Source
from s2d_loop.sources.canaries import Canary, read_canaries, set_digest
from s2d_loop.sources.column import PromptTemplate
from s2d_loop.sources.cursor import fold
from s2d_loop.sources.heldout import read_general, read_heldout
from s2d_loop.sources.patience import Patience, readable
from s2d_loop.sources.sharded import RowsAs, ShardedSource

__all__ = [
    "Canary",
    "Cursor",
    "Delivery",
    "Source",
    "fold",
    "open_source",
    "read_canaries",
    "read_general",
    "read_heldout",
    "set_digest",
]

Now = Callable[[], float]


def _files(config: SourceConfig, path: str, where: str, now: Now) -> Lister:
    return directory.lister(config.type, path, _options(config, where), where=where, now=now)


def _dataset(config: SourceConfig, path: str, where: str, now: Now) -> Lister:  # noqa: ARG001
    lister = streamed.lister if config.streaming else hub.lister
    return lister(path, config.subset, config.split, config.revision, where=where)


def _kafka(config: SourceConfig, path: str, where: str, now: Now) -> Lister:  # noqa: ARG001
    return kafka.lister(path, _options(config, where), where=where)


def _delta(config: SourceConfig, path: str, where: str, now: Now) -> Lister:  # noqa: ARG001
    return delta.lister(path, _options(config, where), where=where)


_KINDS: dict[str, Callable[[SourceConfig, str, str, Now], Lister]] = {
    "jsonl": _files,
    "parquet": _files,
    "directory": _files,
    "dataset": _dataset,
    "kafka": _kafka,
    "delta": _delta,
}


def _options(config: SourceConfig, where: str) -> dict[str, str]:
    """The client library's settings, with those from the environment filled in."""
    missing = [v for v in config.options.values() if v.startswith("$") and v[1:] not in os.environ]
    if missing:
        raise BadInputError(f"{where}: options: {missing[0]} is not set in the environment")
    return {key: os.environ[v[1:]] if v.startswith("$") else v for key, v in config.options.items()}


def _rows_as(config: SourceConfig) -> RowsAs | None:
    if config.format == "requests":
        return _requests(config.workloads or None, config.drop_constant_system)
    if config.format is not None:
        return RowsAs(f"format {config.format}", load_format(config.format))
    if config.template is not None:
        return RowsAs(f"template {config.template!r}", PromptTemplate(config.template))
    return None


def _requests(workloads: dict[str, str] | None, drop: bool) -> RowsAs:
    rows_as = RowsAs("format requests", Requests(workloads), picks=workloads is not None)
    if not drop:
        return rows_as

    def learn(rows: Iterable[Row]) -> str:
        return json.dumps(constant_systems(row.value for row in rows if row.value is not None))

    return replace(rows_as, learn=learn, with_learned=lambda told: Requests(workloads, json.loads(told)))


def _is_remote(config: SourceConfig) -> bool:
    return config.type in ("kafka", "delta") or config.streaming or "://" in paths.resolve(config.path)


def open_source(
    config: SourceConfig, *, now: Now = time.time, sleep: Callable[[float], None] = time.sleep
) -> Source:
    """The source that a configuration names.

    Raises:
        BadInputError: it isn't there, or holds no prompts.
        SourceError: its service didn't answer for `timeout_s`.
    """
    where = f"the source {config.source_name} ({config.path})"
    path = paths.resolve(config.path)
    patience = Patience(where, config.timeout_s, sleep=sleep) if _is_remote(config) else None
    opened = partial(_KINDS[config.type], config, path, where, now)
    return ShardedSource(
        config.source_name,
        config.tasks,
        patience(lambda: _careful(opened, where)) if patience else opened(),
        where=where,
        column=config.prompt,
        rows_as=_rows_as(config),
        limit=config.limit,
        waits=config.type in ("directory", "kafka", "delta"),
        patience=patience,
    )


def _careful(opened: Callable[[], Lister], where: str) -> Lister:
    with readable(where, remote=True):
        return opened()
