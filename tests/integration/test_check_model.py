"""What `s2d check` finds in a model, its template and its rows: in seconds, without an engine, with what to do.

Each of these used to show after a round of generation or training.  A run does the same first.
"""

import contextlib
import io
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from s2d_loop.cli import main
from s2d_loop.testbed import MODEL_DIR
from s2d_loop.train import start as _imported_before_the_clock_runs  # noqa: F401

LIMIT_S = 10.0
TURNS = "{%- for m in messages -%}{{ '<|user|>' + m.content + '<|end|>' }}{%- endfor -%}<|assistant|>"
SWITCHED = (
    "{%- for m in messages -%}{{ ('<|assistant|>' if m.role == 'assistant' else '<|user|>') + m.content + '<|end|>' }}"
    "{%- endfor -%}{%- if add_generation_prompt -%}<|assistant|>{%- if enable_thinking is defined and not "
    "enable_thinking -%}{{ '<think>\n\n</think>\n\n' }}{%- endif -%}{%- endif -%}"
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the testbed's model that a test may spoil."""
    shutil.copytree(MODEL_DIR, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def config(tmp_path: Path, model: Path) -> Callable[..., Path]:
    """Writes a configuration of one task over two rows, and a path that takes changes."""

    def write(**sections: dict) -> Path:
        (tmp_path / "rows.jsonl").write_text('{"prompt": "Is the coin up?"}\n{"prompt": "Is it down?"}\n')
        (tmp_path / "heldout.jsonl").write_text('{"prompt": "Is it tails?", "answer": "no"}\n')
        task = {
            "parser": "coin_flip",
            "method": {"name": "cot", "samples": 4},
            "heldout": {"type": "jsonl", "path": str(tmp_path / "heldout.jsonl")},
        }
        whole = {
            "run": {"dir": str(tmp_path / "run")},
            "model": {"path": str(model)},
            "tasks": {"coin": {**task, **sections.pop("task", {})}},
            "sources": [{"task": "coin", "type": "jsonl", "path": str(tmp_path / "rows.jsonl")}],
            "gate": {"margin": 1.0},
        }
        for name, section in sections.items():
            whole[name] = {**whole.get(name, {}), **section}
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(whole))
        return tmp_path / "mine.yaml"

    return write


def check(path: Path) -> tuple[int, str]:
    """Exit status of `s2d check` in this process, where what it imports is imported once, and all that it says."""
    said = io.StringIO()
    began = time.process_time()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main(["check", str(path)])
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
    assert time.process_time() - began < LIMIT_S
    assert "Traceback" not in said.getvalue()
    return code, said.getvalue()


def refused(path: Path, *says: str) -> str:
    code, said = check(path)
    assert code == 2, said
    for text in says:
        assert text in said, said
    assert not (path.parent / "run").exists(), "something was written"
    return said


def template(model: Path, text: str | None) -> None:
    (model / "chat_template.jinja").unlink()
    if text is not None:
        (model / "chat_template.jinja").write_text(text)


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_a_sound_model_is_shown_as_it_will_be_asked_and_trained(config: Callable[..., Path]) -> None:
    code, said = check(config())
    assert code == 0, said
    assert "<|user|>Is it tails?<|end|><|assistant|>\u25b6No\u25c0<|end|>" in said
    assert "stops at <|end|>" in said


def test_the_whole_command_takes_seconds(config: Callable[..., Path]) -> None:
    path = config()

    def took() -> float:
        """Of the processor's time: beside other tests the clock says nothing."""
        began = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "s2d_loop.cli", "check", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime - began.ru_utime - began.ru_stime

    # A processor that others share is slower: one of two tries has to do.
    assert took() < LIMIT_S or took() < LIMIT_S


def test_no_template(config: Callable[..., Path], model: Path) -> None:
    template(model, None)
    refused(config(), "no chat template", "model.chat_template")


def test_a_template_of_ones_own(config: Callable[..., Path], model: Path, tmp_path: Path) -> None:
    template(model, None)
    (tmp_path / "mine.jinja").write_text(SWITCHED)
    code, said = check(config(model={"chat_template": str(tmp_path / "mine.jinja")}))
    assert code == 0, said
    refused(
        config(model={"chat_template": str(tmp_path / "none.jinja")}), "model.chat_template", "none.jinja"
    )


def test_a_template_that_is_none(config: Callable[..., Path], model: Path) -> None:
    template(model, "{% for m in messages %}{{ m.content }}")
    refused(config(), "chat template")


def test_a_template_that_loses_the_question(config: Callable[..., Path], model: Path) -> None:
    template(model, "<|user|>{{ messages | length }}<|end|><|assistant|>")
    refused(config(), "leaves out the user turn")


def test_a_template_that_refuses_the_rows(config: Callable[..., Path], model: Path, tmp_path: Path) -> None:
    template(
        model,
        "{%- if messages[0].role == 'system' -%}{{ raise_exception('no system turn') }}{%- endif -%}"
        + SWITCHED,
    )
    system = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Is it up?"}]
    path = config()
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": system}) + "\n")
    refused(path, "sources.rows", "1 of 1 inputs can't be asked", "no system turn", "model.chat_template")
    # One of many costs itself.
    (tmp_path / "rows.jsonl").write_text(
        json.dumps({"messages": system}) + "\n" + json.dumps({"messages": system[1:]}) + "\n"
    )
    code, said = check(path)
    assert code == 0, said
    assert "1 of 2 inputs can't be asked" in said
    # Of a held-out set every input is needed.
    (tmp_path / "heldout.jsonl").write_text(json.dumps({"messages": system, "answer": "no"}) + "\n")
    refused(path, "tasks.coin.heldout", "no system turn")


def test_a_template_that_no_engine_stops_after(config: Callable[..., Path], model: Path) -> None:
    template(model, SWITCHED.replace("<|end|>", "<|pad|>"))
    refused(config(), "tasks.coin.system1", "'<|pad|>'", "generation_config.json")


def test_an_argument_that_the_template_does_not_know(config: Callable[..., Path], model: Path) -> None:
    template(model, SWITCHED)
    code, said = check(config(model={"chat_template_kwargs": {"enable_thinking": False}}))
    assert code == 0, said
    assert "</think>\n" in said.replace("          | ", "")
    misspelt = config(task={"system1": {"chat_template_kwargs": {"enable_thnking": False}}})
    refused(misspelt, "tasks.coin.system1.chat_template_kwargs.enable_thnking", "it takes: enable_thinking")


def test_thinking_that_is_asked_like_not_thinking(config: Callable[..., Path], model: Path) -> None:
    template(model, SWITCHED)
    task = {"method": {"name": "think", "samples": 4}}
    refused(config(task=task), "tasks.coin.method.sampling.chat_template_kwargs", "think", "enable_thinking")
    switched = {**task, "system1": {"chat_template_kwargs": {"enable_thinking": False}}}
    code, said = check(config(task=switched))
    assert code == 0, said


def test_thinking_that_nothing_tells_from_answers(config: Callable[..., Path], model: Path) -> None:
    template(model, SWITCHED)
    task = {
        "method": {"name": "think", "samples": 4},
        "system1": {"chat_template_kwargs": {"enable_thinking": False}},
    }
    refused(
        config(task=task, model={"reasoning_parser": "none"}), "tasks.coin.method", "model.reasoning_parser"
    )


def test_a_parser_of_thoughts_that_there_is_not(config: Callable[..., Path]) -> None:
    refused(config(model={"reasoning_parser": "qwen33"}), "model.reasoning_parser", "'qwen33'", "qwen3")


def test_a_limit_that_cuts_every_answer(config: Callable[..., Path], tmp_path: Path) -> None:
    path = config(task={"parser": "pairwise", "system1": {"max_tokens": 4}})
    (tmp_path / "heldout.jsonl").write_text('{"prompt": "Which is better?", "answer": "A"}\n')
    said = refused(path, "tasks.coin.system1.max_tokens: 4", "'[[A]]'", "give at least 6")
    assert "6 tokens with its end" in said


def test_several_people_s_verdicts_are_a_reference(config: Callable[..., Path], tmp_path: Path) -> None:
    path = config(task={"parser": "pairwise", "system1": {"max_tokens": 8}})
    (tmp_path / "heldout.jsonl").write_text('{"prompt": "Which is better?", "answer": "A A B"}\n')
    code, said = check(path)
    assert code == 0, said


def test_rows_that_are_longer_than_what_trains(config: Callable[..., Path]) -> None:
    refused(config(train={"micro_batch_tokens": 8}), "train.micro_batch_tokens: 8")


def test_prompts_that_leave_no_room(config: Callable[..., Path], tmp_path: Path) -> None:
    path = config(engine={"max_model_len": 300}, task={"system1": {"max_tokens": 250}})
    (tmp_path / "heldout.jsonl").write_text(json.dumps({"prompt": "Is it up? " * 40, "answer": "no"}) + "\n")
    refused(path, "tasks.coin.heldout", "context of 300 tokens", "engine.max_model_len")


def test_references_that_no_parser_reads(config: Callable[..., Path], tmp_path: Path) -> None:
    path = config()
    (tmp_path / "heldout.jsonl").write_text('{"prompt": "Is it tails?", "answer": "perhaps"}\n')
    refused(path, "'perhaps'", "reference:")


def test_a_tokenizer_of_another_model(config: Callable[..., Path], model: Path) -> None:
    edit(model / "config.json", vocab_size=64)
    refused(config(), "model.path", "embedding")


def test_references_under_another_name(config: Callable[..., Path], tmp_path: Path) -> None:
    path = config()
    (tmp_path / "heldout.jsonl").write_text('{"prompt": "Is it tails?", "gold": "no"}\n')
    code, said = check(path)
    assert code == 0, said
    assert "gold" in said
    assert "reference: gold" in said


def test_quantised_weights(config: Callable[..., Path], model: Path) -> None:
    edit(model / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    refused(config(), "model.path", "gptq")


def test_a_truncated_file_of_weights(config: Callable[..., Path], model: Path) -> None:
    file = model / "model.safetensors"
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size - 1000)
    refused(config(), "model.path", "model.safetensors", "bytes")


def test_weights_that_the_configuration_does_not_fit(config: Callable[..., Path], model: Path) -> None:
    edit(model / "config.json", intermediate_size=512)
    refused(config(), "model.path", "384", "512")


def test_a_layer_that_is_not_in_the_files(config: Callable[..., Path], model: Path) -> None:
    edit(model / "config.json", num_hidden_layers=6)
    refused(config(), "model.path", "layers.4")


def test_a_model_whose_code_would_come_with_it(config: Callable[..., Path], model: Path) -> None:
    edit(model / "config.json", model_type="mine", auto_map={"AutoModelForCausalLM": "mine.Mine"})
    refused(config(), "model.path", "mine")


def test_tensors_that_are_not_trained_are_no_obstacle(config: Callable[..., Path], model: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    state = load_file(model / "model.safetensors")
    more = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(16) for i in range(4)}
    save_file({**state, **more}, model / "model.safetensors", metadata={"format": "pt"})
    code, said = check(config())
    assert code == 0, said
    assert "carried over as it is: model.layers.*.self_attn.rotary_emb (4 tensors)" in said


def test_a_second_file_of_weights_that_no_index_leaves_out(config: Callable[..., Path], model: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"adapter": torch.ones(3)}, model / "consolidated.safetensors")
    refused(config(), "model.path", "consolidated.safetensors")


def test_however_large_the_model(config: Callable[..., Path], model: Path) -> None:
    """Headers are read and nothing else: 70 billion parameters' worth of a file that holds none of them."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    large = LlamaConfig(
        vocab_size=32000, hidden_size=8192, intermediate_size=28672, num_hidden_layers=80, num_attention_heads=64,
        num_key_value_heads=8, max_position_embeddings=4096, eos_token_id=3, torch_dtype="bfloat16",
    )  # fmt: skip
    with torch.device("meta"):
        names = {name: tuple(p.shape) for name, p in LlamaForCausalLM(large).state_dict().items()}
    header, end = {}, 0
    for name, shape in names.items():
        size = 2 * int(torch.Size(shape).numel())
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    written = json.dumps(header).encode()
    with (model / "model.safetensors").open("wb") as file:
        file.write(len(written).to_bytes(8, "little") + written)
        file.truncate(8 + len(written) + end)
    large.save_pretrained(model)
    code, said = check(config())
    assert code == 0, said
    assert "68,9" in said or "70," in said


def test_a_budget_of_thoughts_that_nobody_counts(config: Callable[..., Path]) -> None:
    task = {"method": {"name": "cot", "samples": 4, "sampling": {"thinking_token_budget": 8}}}
    refused(config(task=task), "tasks.coin.method.sampling.thinking_token_budget", "max_tokens")


def test_a_template_that_writes_the_date(config: Callable[..., Path], model: Path) -> None:
    dated = "{%- if not date_string is defined -%}{%- set date_string = strftime_now('%d') -%}{%- endif -%}"
    template(model, dated + "<|user|>{{ date_string }}<|end|>" + SWITCHED)
    code, said = check(config())
    assert code == 0, said
    assert "today's date" in said
    assert "date_string in model.chat_template_kwargs" in said
    code, said = check(config(model={"chat_template_kwargs": {"date_string": "1 May"}}))
    assert code == 0, said
    assert "today's date" not in said
