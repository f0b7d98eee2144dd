"""Configuration: everything wrong at once, at its line, with the right key."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from s2d_loop.config import Config, difference, load, resolved_yaml
from s2d_loop.config.schema import PATH, render
from s2d_loop.errors import BadInputError

REPO = Path(__file__).parents[2]
GOOD = """\
run:
  dir: runs/a
model:
  path: testbed://model
tasks:
  coin:
    method:
      name: rar_2step
    heldout:
      type: jsonl
      path: heldout.jsonl
sources:
  - task: coin
    type: jsonl
    path: new.jsonl
train:
  steps: 10
  learning_rate: 1e-5
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text: str | bytes = GOOD) -> str:
        Path("c.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return "c.yaml"

    return write


def complaint(path: str, *overrides: str) -> str:
    with pytest.raises(BadInputError) as caught:
        load(path, list(overrides))
    return str(caught.value)


def test_a_good_file_loads_with_overrides(write):
    config = load(write(), ["train.steps=20", "sources.0.name=mine", "run.seed=7", "pool.max_examples="])
    assert (config.train.steps, config.sources[0].name, config.run.seed) == (20, "mine", 7)
    assert config.train.learning_rate == 1e-5
    assert config.pool.max_examples is None


def test_everything_wrong_is_reported_at_once_at_its_line(write):
    text = GOOD.replace("steps: 10", "steps: ten").replace("dir: runs/a", "dri: runs/a")
    text = text.replace("task: coin", "task: coins") + "learning_rate: 1\ngate:\n  margin: 2\n"
    said = complaint(write(text), "engine.tp=2", "evaluate.system2_samples=0", "nonsense")
    for line in (
        "c.yaml:2: run.dri: no such key; did you mean run.dir?",
        "c.yaml:1: run.dir: missing: write `dir:` here",
        "c.yaml:13: sources.0.task: no task 'coins' (there are: coin)",
        "c.yaml:6: tasks.coin: no source feeds it",
        "c.yaml:17: train.steps: wanted a whole number, got 'ten'",
        "c.yaml:19: learning_rate: no such key; did you mean train.learning_rate?",
        "c.yaml:21: gate.margin: must be at most 1, got 2",
        "override 'engine.tp=2': engine.tp: no such key; did you mean engine.tensor_parallel_size?",
        "override 'evaluate.system2_samples=0': evaluate.system2_samples: must be above 0, got 0",
        "override 'nonsense': wanted key.sub=value",
    ):
        assert line in said
    assert said.splitlines()[0] == "c.yaml (nothing was started): 10 things are wrong"
    assert not re.search(r"pydantic|input_value|validation error|Extra inputs", said)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.lr=1e-5", "did you mean train.learning_rate?"),
        ("tp=2", "did you mean engine.tensor_parallel_size?"),
        ("model_name_or_path=x", "did you mean model.path?"),
        ("train.batch_size=8", "did you mean train.tokens_per_step?"),
        ("tasks.coin.heldout.refs=x", "did you mean tasks.coin.heldout.reference?"),
        ("learning_rat=1", "did you mean train.learning_rate?"),
        ("tasks.coin.temperature=1", "did you mean tasks.coin.system1.temperature?"),
        ("tasks.coin.method.sample=1", "did you mean tasks.coin.method.samples?"),
        ("sources.0.prompts=x", "did you mean sources.0.prompt?"),
        ("qqqqqq.zzzz=1", "no such key; there are: run, model"),
        ("engine.dtype=bfloat17", "did you mean 'bfloat16'?"),
        ("train.bf16=yes", "wanted true or false, got 'yes'"),
        ("train.steps='100'", "got '100': remove the quotes"),
        ("train.steps=1e2", "got 100.0: write 100"),
        ("train.steps=true", "wanted a whole number, got true"),
        ("train.learning_rate=.inf", "wanted a finite number"),
        ("run.dir=5", "wanted text, got 5: put it in quotes"),
        ("train=", "wanted a section (indented `key: value` lines), got nothing"),
        ("sources=[]", "sources: is empty"),
        ("+train.steps=5", "write it without '+': train.steps=5"),
        ("sources.4.path=x", "is a list and has the indexes 0 to 0, not '4'"),
        ("run.dir.x=1", "run.dir holds a single value"),
        ("train.steps=[1", "not valid YAML"),
        ("train.offload=all", "train.offload: needs zero_stage 1"),
        ("train.warmup_steps=50", "train.warmup_steps: 50 is more than the 10 steps"),
        ("tasks.coin.method.samples=1", "tasks.coin.method.samples: a vote needs at least two samples"),
        ("tasks.coin.method.options.answers=x", "tasks.coin.method.options.answers: wanted a whole number"),
        (
            "tasks.coin.method.sampling.temperature=0",
            "method.sampling.temperature: a vote over greedy samples",
        ),
        ("sources.0.path=heldout.jsonl", "sources.0.path: this is also the held-out set of tasks.coin"),
        ("engine.max_model_len=100", "tasks.coin.system1.max_tokens: 128 leaves no room for a prompt"),
        ("sources.1={task: coin, type: jsonl, path: b/new.jsonl}", "sources.1.name: its inputs' ids would"),
        ("tasks.a b={}", "a task's name may hold letters"),
        ("run.dir=s3://bucket/run", "run.weights_dir: with run.dir on an object store"),
    ],
)
def test_a_wrong_value_is_told_in_plain_words(write, override, said):
    assert said in complaint(write(), override)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        ("# only a comment\n", "the file is empty"),
        ("- a\n", "c.yaml:1: wanted sections such as `run:` and `model:`, found a list"),
        ("run:\n\tdir: x\n", "c.yaml:2: a tab: YAML is indented with spaces only"),
        ("run: [1\nx: 2\n", "not valid YAML"),
        ("a: 1\n---\nb: 2\n", "c.yaml:2: a second document starts here"),
        (b"run:\n  dir: \xff\n", "c.yaml:2: not UTF-8 text"),
        (GOOD + "train:\n  steps: 5\n", "c.yaml:19: train: written twice (first at c.yaml:16)"),
        (GOOD + "pool: !!python/object:os.system {}\n", "wanted"),
        (GOOD + "pool: &a\n  x: *a\n", "an alias to something that holds it"),
        (GOOD + "train.steps: 5\n", "keys nest in the file: write `steps:` under `train:`"),
    ],
)
def test_a_file_that_is_no_configuration(write, text, said):
    if "python/object" in str(text):  # the tag builds nothing; an empty mapping is a fine section
        assert load(write(text)).pool.replay_share == 0.5
        return
    assert said in complaint(write(text))


def test_a_missing_file_names_its_neighbour(write):
    write()
    assert "no such file; did you mean c.yaml?" in complaint("c")
    assert "this is a directory" in complaint(".")


def test_merge_keys_share_settings(write):
    shared = GOOD.replace("  coin:\n", "  coin: &coin\n").replace(
        "sources:\n", "  other:\n    <<: *coin\n    direct_samples: 5\nsources:\n"
    )
    config = load(write(shared), ["sources.1={task: other, type: jsonl, path: o.jsonl}"])
    assert config.tasks["other"].method == config.tasks["coin"].method
    assert config.tasks["other"].direct_samples == 5


@settings(max_examples=40, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), rate=st.floats(1e-12, 1e12))
def test_the_resolved_form_loads_back_as_the_same(tmp_path_factory, text, rate):
    data = yaml.safe_load(GOOD)
    data["model"]["path"] = text
    data["train"]["learning_rate"] = rate
    config = Config.model_validate(data)
    path = tmp_path_factory.mktemp("c") / "c.yaml"
    path.write_text(resolved_yaml(config), encoding="utf-8")
    assert load(str(path)) == config


@pytest.mark.parametrize("text", ["1e-5", "no", "1_000", "2026-11-23", "null", "0x10", "~", "<<", "=", "0b1"])
def test_text_that_looks_like_something_else_stays_text(write, text):
    config = load(write(), [f"model.path='{text}'"])
    assert load(write(resolved_yaml(config))).model.path == text


def test_difference_is_a_line_a_change():
    old = {"train": {"steps": 100, "x": 1}, "sources": [{"path": "a"}], "same": None}
    new = {"train": {"steps": 200, "y": True}, "sources": [{"path": "a"}, {"path": "b"}], "same": None}
    assert difference(old, new) == [
        "train.steps: 100 -> 200",
        "train.x: 1 -> (not there)",
        "train.y: (not there) -> true",
        'sources.1: (not there) -> {"path": "b"}',
    ]
    assert difference(old, old) == []


def test_the_schema_in_the_package_is_up_to_date():
    assert PATH.read_text(encoding="utf-8") == render(), "run: python -m s2d_loop.config.schema"
    assert json.loads(render())["additionalProperties"] is False


@pytest.mark.parametrize("path", sorted((REPO / "configs").rglob("*.yaml")), ids=lambda p: p.name)
def test_every_shipped_configuration_loads(path):
    load(str(path))
    first = path.read_text(encoding="utf-8").splitlines()[0]
    schema = first.removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / schema).resolve() == PATH, "the first line names the schema for editors"


def test_importing_the_configuration_is_cheap():
    code = "import sys, s2d_loop.config; print([m for m in ('ray', 'torch', 'pyarrow', 'datasets') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
