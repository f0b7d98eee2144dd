"""Parsers over the texts of the public files, where the environment's S2D_DATA names their folder."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from s2d_loop.tasks.gsm8k import Gsm8k
from s2d_loop.tasks.registry import TASKS, load_task

DATA = os.environ.get("S2D_DATA")
pytestmark = pytest.mark.skipif(DATA is None, reason="S2D_DATA doesn't name the folder of the public files")


def rows(path: Path) -> Iterator[Any]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        yield from json.loads(text)
    else:
        yield from (json.loads(line) for line in text.split("\n") if line.strip())


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts(each)


@pytest.mark.parametrize("name", TASKS)
def test_a_parser_reads_back_what_it_reads_in_real_texts(name: str) -> None:
    task, answers = load_task(name), 0
    folder = Path(str(DATA))
    for path in [
        *folder.glob("mt_bench/model_answer/*"),
        *folder.glob("rar/*4.json"),
        *folder.glob("pandalm/*.json"),
    ]:
        for text in texts(list(rows(path))):
            answer = task.parse(text)
            if answer is not None:
                answers += 1
                assert task.parse(task.format(answer)) == answer, text
    assert answers


def test_worked_solutions_are_read_as_their_last_number() -> None:
    task = Gsm8k()
    for path in Path(str(DATA)).glob("gsm8k/*.jsonl"):
        for row in rows(path):
            assert task.score(task.parse(row["answer"]), row["answer"].rpartition("####")[2].strip())
