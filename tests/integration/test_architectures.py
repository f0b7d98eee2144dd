"""Public architectures, tiny and laid out as they are published: trained, exported, and served by vLLM.

Training and serving each have one process, since importing DeepSpeed and vLLM costs more than all the rest.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm")
pytest.importorskip("deepspeed")

import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from s2d_loop.train.start import check_start
from tests.support import architectures, checkpoints

pytestmark = pytest.mark.timeout(600)


def run(what: str, root: Path) -> Any:
    """What `tests.support.architectures` prints last."""
    command = [sys.executable, "-m", "tests.support.architectures", what, str(root)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parents[2], env=environment, timeout=500
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def greedy(path: Path) -> list[list[int]]:
    """transformers' own answers on the prompts, in tokens."""
    pictures = "vision_config" in json.loads((path / "config.json").read_text())
    kind = AutoModelForImageTextToText if pictures else AutoModelForCausalLM
    model = kind.from_pretrained(path, dtype=torch.float32)
    size, answers = architectures.NEW_TOKENS, []
    for ids in architectures.prompt_ids():
        said = model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids)),
            do_sample=False,
            max_new_tokens=size,
            min_new_tokens=size,
            eos_token_id=None,
            pad_token_id=0,
        )
        answers.append(said[0, len(ids) :].tolist())
    return answers


def test_public_architectures_train_and_vllm_serves_what_was_exported(tmp_path: Path) -> None:
    before, after = {}, {}
    for name, make in checkpoints.ALL.items():
        make(tmp_path / name)
        before[name] = check_start(str(tmp_path / name), bf16=False)
    accounts = run("train", tmp_path)
    for name, account in accounts.items():
        assert account["losses"][-1] < account["losses"][0], name
        export = tmp_path / f"{name}-export"
        again = check_start(str(export), bf16=False)
        assert (again.parameters, again.carried_over) == (before[name].parameters, before[name].carried_over)
        after[name] = greedy(export)
        assert after[name] != greedy(tmp_path / name), f"{name}: training changed no answer"
    answers = run("serve", tmp_path)
    assert set(answers) == set(architectures.SERVED)
    for name, tokens in answers.items():
        assert tokens == after[name], name


def test_a_step_that_deepspeed_leaves_out_ends_the_training(tmp_path: Path) -> None:
    """DeepSpeed skips a step whose gradients are infinite, and counts it."""
    checkpoints.llama(tmp_path / "llama")
    said = run("skip_steps", tmp_path)
    assert len(said) == 7
    for case, text in said.items():
        assert text.startswith("step 2: its gradients are not finite"), case
        assert "train.learning_rate" in text
