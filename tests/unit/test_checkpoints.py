"""Checkpoints as they are published: what is found before anything is spent, and what an export holds."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from s2d_loop.config.training import TrainConfig
from s2d_loop.engine import pretrained
from s2d_loop.engine.settings import context_of
from s2d_loop.errors import BadInputError, TrainError
from s2d_loop.train import batch, model, worker
from s2d_loop.train.export import check_export
from s2d_loop.train.finish import finish
from s2d_loop.train.packing import sees_across
from s2d_loop.train.published import trainable
from s2d_loop.train.start import check_start, places
from tests.support import checkpoints

FACTS = {"start_weights": "digest"}


class Engine:
    """A model where DeepSpeed's engine is expected: one rank, nothing split."""

    def __init__(self, module: Any, *, bf16: bool = False) -> None:
        self.module, self.device, self._bf16 = module, torch.device("cpu"), bf16

    def zero_optimization_stage(self) -> int:
        return 0

    def bfloat16_enabled(self) -> bool:
        return self._bf16

    def eval(self) -> None:
        self.module.eval()

    def __call__(self, **inputs: Any) -> Any:
        return self.module(**inputs)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads wait for each other longer than such small models compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A checkpoint of `checkpoints.ALL` by name, made once.  Tests that change it take a copy."""
    root = tmp_path_factory.mktemp("published")

    def get(name: str) -> Path:
        if not (root / name).exists():
            checkpoints.ALL[name](root / name)
        return root / name

    return get


@pytest.fixture
def start(published: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of the Llama, to be damaged."""
    return checkpoints.copy(published("llama"), tmp_path / "start")


def trained(path: Path) -> Engine:
    """A checkpoint whose trainable weights have moved."""
    engine = Engine(model._load(str(path), TrainConfig()))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in engine.module.parameters():
            if parameter.requires_grad:
                parameter += 0.01 * torch.randn_like(parameter)
    return engine


def export(start: Path, out: Path, engine: Engine, origin: Path | None = None, share: float = 0.0) -> Path:
    ids = [5, 6, 7, 8]
    said = model.logits(engine, ids, range(4)).float()
    finish(
        str(out),
        model=engine.module,
        state=model.full_state(engine, keep=True),
        start=str(start),
        facts=FACTS,
        probes=[(ids, said)],
        tokenizer=checkpoints.tokenizer(),
        bf16=False,
        origin=None if origin is None else str(origin),
        origin_share=share,
    )
    return out


@pytest.mark.parametrize("name", checkpoints.ALL)
def test_an_export_holds_what_its_start_held(
    name: str, published: Callable[[str], Path], tmp_path: Path
) -> None:
    start = published(name)
    report = check_start(str(start), bf16=False)
    engine = trained(start)
    own = {id(p): p.numel() for p in trainable(engine.module).values()}
    assert report.trained_parameters == sum(own.values())
    assert report.parameters == sum(p.numel() for p in engine.module.parameters())
    out = export(start, tmp_path / "export", engine)

    before, after = checkpoints.read_tensors(start), checkpoints.read_tensors(out)
    assert list(before) == list(after)
    kept = set()
    for key, tensor in before.items():
        assert (after[key].dtype, after[key].shape) == (tensor.dtype, tensor.shape)
        if torch.equal(after[key], tensor):
            kept.add(key)
    # All that was trained has changed, and nothing else.
    assert sum(before[key].numel() for key in before.keys() - kept) >= report.trained_parameters
    assert places(kept, before.keys() - kept) == report.carried_over

    files = {file.name for file in start.iterdir() if file.is_file()}
    expected = files - {"consolidated.safetensors"} | {"README.md", "canaries.json"}
    assert {file.name for file in out.iterdir()} == expected
    weights = {file.name for file in start.glob("model*.safetensors")}
    for file in expected - weights - {"README.md", "canaries.json"}:
        assert (out / file).read_bytes() == (start / file).read_bytes(), file
    # What the trainer reads is the model that was trained.
    again = pretrained.load(out, dtype=torch.float32)
    for key, parameter in engine.module.named_parameters():
        assert torch.equal(parameter, again.get_parameter(key)), key


@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "gemma3"])
def test_an_export_can_be_averaged_with_the_weights_that_a_run_began_with(
    name: str, published: Callable[[str], Path], tmp_path: Path
) -> None:
    origin = published(name)
    engine = trained(origin)
    whole = checkpoints.read_tensors(export(origin, tmp_path / "whole", engine))
    out = export(origin, tmp_path / "averaged", engine, origin, share=0.25)
    assert {file.name for file in out.iterdir()} == {file.name for file in (tmp_path / "whole").iterdir()}
    moved = 0
    averaged = checkpoints.read_tensors(out)
    for key, first in checkpoints.read_tensors(origin).items():
        if torch.equal(first, whole[key]):
            assert torch.equal(averaged[key], first), f"{key} isn't trained"
            continue
        moved += 1
        expected = (0.75 * whole[key].double() + 0.25 * first.double()).to(first.dtype)
        assert torch.allclose(averaged[key].double(), expected.double(), rtol=2**-7, atol=1e-6), key
        between = (averaged[key].double() - first.double()).norm() / (
            whole[key].double() - first.double()
        ).norm()
        assert between == pytest.approx(0.75, abs=0.05), key
    assert moved
    said = (json.loads((folder / "canaries.json").read_text()) for folder in (out, tmp_path / "whole"))
    assert next(said) != next(said), "engines are held against the averaged weights"


def test_what_has_another_layout_is_not_averaged_with(
    published: Callable[[str], Path], tmp_path: Path
) -> None:
    start = published("llama")
    with pytest.raises(
        TrainError,
        match=r"can't be averaged with .* \(train.average_with_start\): .* in the one and .* in the other",
    ):
        export(start, tmp_path / "out", trained(start), published("qwen3_moe"), share=0.5)


def test_what_is_trained_of_a_model_that_sees_is_its_text_part(published: Callable[[str], Path]) -> None:
    report = check_start(str(published("gemma3")), bf16=False)
    assert [place.split(" ")[0] for place in report.carried_over] == ["multi_modal_projector", "vision_tower"]
    assert 0 < report.trained_parameters < report.parameters
    (report, moe) = (check_start(str(published(name)), bf16=True) for name in ("deepseek_v3", "qwen3_moe"))
    assert "model.layers.2 (32 tensors)" in report.carried_over
    assert moe.carried_over == ()


def test_an_index_decides_which_files_count(start: Path, tmp_path: Path) -> None:
    """transformers alone would read the file without a number, and vLLM those with one."""
    right = checkpoints.read_tensors(start)
    stale = {name: torch.zeros_like(tensor) for name, tensor in right.items()}
    save_file(stale, start / "model.safetensors", metadata={"format": "pt"})
    assert torch.equal(model._load(str(start), TrainConfig()).lm_head.weight, right["lm_head.weight"])
    out = export(start, tmp_path / "export", trained(start))
    assert not (out / "model.safetensors").exists()


def test_weights_keep_their_types(start: Path, tmp_path: Path) -> None:
    """Trained in float32, an export is what the start was: bfloat16 here, and one table in float32."""
    tensors = {name: t.bfloat16() for name, t in checkpoints.read_tensors(start).items()}
    tensors["model.norm.weight"] = tensors["model.norm.weight"].float()
    checkpoints.write_tensors(start, tensors)
    engine = trained(start)
    after = checkpoints.read_tensors(export(start, tmp_path / "export", engine))
    assert {name: t.dtype for name, t in after.items()} == {name: t.dtype for name, t in tensors.items()}
    assert torch.equal(after["lm_head.weight"], engine.module.lm_head.weight.bfloat16())


def test_an_export_that_changed_what_was_not_trained_is_refused(
    published: Callable[[str], Path], tmp_path: Path
) -> None:
    start = published("gemma3")
    out = export(start, tmp_path / "export", trained(start))
    tensors = load_file(out / "model.safetensors")
    learned = {name for name in tensors if "language_model" in name}
    check_export(str(out), str(start), trained=learned)
    tower = next(name for name in tensors if "vision_tower" in name)
    save_file(tensors | {tower: tensors[tower] + 1}, out / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TrainError, match=f"{tower} isn't trained"):
        check_export(str(out), str(start), trained=learned)


def change_config(path: Path, **values: Any) -> None:
    file = path / "config.json"
    settings = json.loads(file.read_text()) | values
    file.write_text(json.dumps({key: value for key, value in settings.items() if value is not None}))


def change_tensors(path: Path, **changes: Any) -> None:
    """By name with `__` for dots; None takes one out."""
    tensors = checkpoints.read_tensors(path) | {n.replace("__", "."): t for n, t in changes.items()}
    checkpoints.write_tensors(path, {name: t for name, t in tensors.items() if t is not None})


def change_index(path: Path, change: Callable[[dict[str, str]], None]) -> None:
    index = json.loads((path / checkpoints.INDEX).read_text())
    change(index["weight_map"])
    (path / checkpoints.INDEX).write_text(json.dumps(index))


def cut(path: Path) -> None:
    file = path / "model-00002-of-00002.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def pointer(path: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n"
    (path / "model-00001-of-00002.safetensors").write_text(text)


def add_adapter(path: Path) -> None:
    checkpoints.write_tensors(path, checkpoints.read_tensors(path))
    save_file({"lora_A": torch.ones(2)}, path / "adapter_model.safetensors")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda p: (p / "config.json").unlink(), "config.json: can't be read"),
    "half a config": (
        lambda p: (p / "config.json").write_text('{"model_type": '),
        "config.json: can't be read",
    ),
    "a config of something else": (
        lambda p: change_config(p, model_type="toaster"),
        "knows no model_type 'toaster'",
    ),
    "code of its own": (
        lambda p: change_config(p, model_type="toaster", auto_map={"AutoModelForCausalLM": "m.Toaster"}),
        "needs program code",
    ),
    "a value that can't be": (lambda p: change_config(p, hidden_size="wide"), "transformers can't read it"),
    "a reward model": (
        lambda p: change_config(p, architectures=["LlamaForSequenceClassification"]),
        "LlamaForSequenceClassification generates no text",
    ),
    "an encoder": (
        lambda p: change_config(p, model_type="vit", architectures=["ViTModel"]),
        "ViTModel generates no text",
    ),
    "quantised by name": (
        lambda p: change_config(p, quantization_config={"quant_method": "gptq", "bits": 4}),
        "quantised (gptq)",
    ),
    "float8": (
        lambda p: change_tensors(p, model__norm__weight=torch.ones(64).to(torch.float8_e4m3fn)),
        "quantised (model.norm.weight is F8_E4M3)",
    ),
    "integers": (
        lambda p: change_tensors(
            p, model__layers__0__mlp__up_proj__qweight=torch.ones(8, 8, dtype=torch.int32)
        ),
        "quantised (model.layers.0.mlp.up_proj.qweight is I32)",
    ),
    "cut off": (cut, "model-00002-of-00002.safetensors: "),
    "a pointer": (pointer, "git lfs pull"),
    "a file is missing": (
        lambda p: (p / "model-00002-of-00002.safetensors").unlink(),
        "it names model-00002-of-00002.safetensors, which the directory doesn't hold",
    ),
    "an index of tensors that aren't there": (
        lambda p: change_index(p, lambda m: m.update({"model.more": "model-00001-of-00002.safetensors"})),
        "not in the files it gives for them: model.more",
    ),
    "an index that leaves the directory": (
        lambda p: change_index(p, lambda m: m.update({"x": "../x.safetensors"})),
        "not ../x.safetensors",
    ),
    "no weights": (
        lambda p: [file.unlink() for file in p.glob("*.safetensors*")],
        "neither model.safetensors nor model.safetensors.index.json",
    ),
    "files without an index": (
        lambda p: [(p / name).unlink() for name in (checkpoints.INDEX, "consolidated.safetensors")],
        "model-00001-of-00002.safetensors, model-00002-of-00002.safetensors should hold is unknown",
    ),
    "weights beside, and no index": (add_adapter, "adapter_model.safetensors beside model.safetensors"),
    "a weight is missing": (
        lambda p: change_tensors(p, model__layers__1__mlp__up_proj__weight=None),
        "1 tensors that the model needs are not in its files and would be made up: model.layers.1.mlp.up_proj",
    ),
    "another vocabulary": (
        lambda p: change_tensors(p, model__embed_tokens__weight=torch.ones(641, 64)),
        "model.embed_tokens.weight has the shape (641, 64) in the files and (640, 64) by config.json",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_a_start_that_can_not_work_is_refused_by_what_is_wrong_with_it(
    damage: Callable[[Path], object], message: str, start: Path
) -> None:
    check_start(str(start), bf16=False)
    damage(start)
    with pytest.raises(BadInputError) as refused:
        check_start(str(start), bf16=False)
    assert message in str(refused.value)
    assert str(start) in str(refused.value)


def test_an_expert_that_is_missing_is_found(published: Callable[[str], Path], tmp_path: Path) -> None:
    path = checkpoints.copy(published("qwen3_moe"), tmp_path / "moe")
    change_tensors(path, model__layers__0__mlp__experts__3__down_proj__weight=None)
    with pytest.raises(BadInputError, match=r"experts.down_proj has the shape \(3, 64, 32\)"):
        check_start(str(path), bf16=False)


def test_two_copies_of_one_tensor_must_be_equal(published: Callable[[str], Path], tmp_path: Path) -> None:
    path = checkpoints.copy(published("qwen3"), tmp_path / "qwen3")
    change_tensors(path, lm_head__weight=torch.ones(640, 64))
    with pytest.raises(BadInputError, match="tie_word_embeddings"):
        check_start(str(path), bf16=False)


def test_the_trainer_itself_makes_no_weights_up(start: Path) -> None:
    change_tensors(start, model__layers__1__mlp__up_proj__weight=None)
    with pytest.raises(BadInputError, match=r"would be made up: model\.layers\.1\.mlp\.up_proj"):
        model._load(str(start), TrainConfig())


def test_seventy_billion_parameters_are_checked_as_quickly_as_a_few(tmp_path: Path) -> None:
    """Headers and empty files of the right size, as a 70B model has them."""
    layers, width, inner, kv = 80, 8192, 28672, 1024
    each = {
        "input_layernorm.weight": [width],
        "post_attention_layernorm.weight": [width],
        **{f"self_attn.{x}_proj.weight": [width, width] for x in "qo"},
        **{f"self_attn.{x}_proj.weight": [kv, width] for x in "kv"},
        **{f"mlp.{x}_proj.weight": [inner, width] for x in ("gate", "up")},
        "mlp.down_proj.weight": [width, inner],
    }
    shapes = {f"model.layers.{i}.{name}": shape for i in range(layers) for name, shape in each.items()}
    shapes |= {"model.embed_tokens.weight": [128256, width], "lm_head.weight": [128256, width]}
    shapes |= {"model.norm.weight": [width]}
    weight_map = {}
    for number in range(30):
        file = f"model-{number + 1:05}-of-00030.safetensors"
        header, end = {}, 0
        for name in list(shapes)[number::30]:
            begin, end = end, end + 2 * torch.Size(shapes[name]).numel()
            header[name] = {"dtype": "BF16", "shape": shapes[name], "data_offsets": [begin, end]}
            weight_map[name] = file
        text = json.dumps(header).encode()
        with (tmp_path / file).open("wb") as stream:
            stream.write(len(text).to_bytes(8, "little") + text)
            stream.truncate(8 + len(text) + end)
    (tmp_path / checkpoints.INDEX).write_text(json.dumps({"weight_map": weight_map}))
    settings = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 128256}
    settings |= {"hidden_size": width, "intermediate_size": inner, "num_hidden_layers": layers}
    settings |= {"num_attention_heads": 64, "num_key_value_heads": 8, "max_position_embeddings": 131072}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    began = time.process_time()
    report = check_start(str(tmp_path), bf16=True)
    assert time.process_time() - began < 5
    assert report.parameters == report.trained_parameters == 70_553_706_496
    assert report.weight_bytes == 2 * report.parameters
    assert report.context_tokens == 131072


@pytest.mark.parametrize(
    ("settings", "tokens"),
    [
        ({"model_type": "llama", "max_position_embeddings": 4096}, 4096),
        ({"model_type": "gpt2", "n_positions": 1024}, 1024),
        ({"model_type": "mpt", "max_seq_len": 65536}, 65536),
        ({"model_type": "x", "max_sequence_length": 300, "seq_length": 200}, 200),
        ({"model_type": "cohere", "max_position_embeddings": 8192, "model_max_length": 131072}, 131072),
        ({"model_type": "y", "text_config": {"max_position_embeddings": 77}, "seq_length": 5}, 77),
        # Left out, because it is what the architecture has anyway.
        ({"model_type": "gemma3", "text_config": {"hidden_size": 64}}, 131072),
        ({"model_type": "no one's"}, 2048),
    ],
)
def test_a_context_is_found_under_every_name(settings: dict[str, Any], tokens: int, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert context_of(str(tmp_path)) == tokens


def test_dropout_is_set_by_each_architectures_name_for_it(published: Callable[[str], Path]) -> None:
    rates = {
        name: model._load(str(published(name)), TrainConfig(dropout=0.25)).config.get_text_config()
        for name in ("llama", "gpt2", "gemma3")
    }
    assert rates["llama"].attention_dropout == rates["gemma3"].attention_dropout == 0.25
    assert rates["gpt2"].attn_pdrop == 0.25
    mamba = str(published("mamba"))
    model._load(mamba, TrainConfig())
    assert any("no attention dropout" in note for note in check_start(mamba, bf16=False).notes)
    with pytest.raises(BadInputError, match=r"set train\.dropout: 0"):
        model._load(mamba, TrainConfig(dropout=0.1))
    with pytest.raises(BadInputError, match=r"set train\.dropout: 0"):
        check_start(mamba, bf16=False, dropout_is_set=True)


DOCUMENTS = (
    batch.Encoded("a", tuple(range(4, 30)), (9, 3), "x"),
    batch.Encoded("b", tuple(range(30, 70)), (17, 3), "y"),
)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3", "qwen2_5_vl", "mamba", "qwen3_next"])
def test_documents_are_packed_where_the_model_keeps_them_apart(
    name: str, published: Callable[[str], Path]
) -> None:
    """The probe agrees with what is known beforehand; packed, the loss is that of single rows."""
    engine = Engine(model._load(str(published(name)), TrainConfig()))
    plan: Any = SimpleNamespace(examples=DOCUMENTS, tokenizer=checkpoints.tokenizer())
    known = sees_across(pretrained.configuration(published(name)), 4096)
    assert known == (name in ("mamba", "qwen3_next"))
    if known:
        with pytest.raises(TrainError, match="sees across packed documents"):
            worker._check_documents_apart(engine, plan)
        return
    worker._check_documents_apart(engine, plan)
    together = worker._summed_loss(engine, batch.make_row(DOCUMENTS)).item()
    alone = sum(worker._summed_loss(engine, batch.make_row([each])).item() for each in DOCUMENTS)
    assert together == pytest.approx(alone, rel=1e-5)


def test_an_architecture_that_ignores_positions_is_found_by_the_probe(tmp_path: Path) -> None:
    """BLOOM's attention has no positions to restart."""
    settings = {"n_layer": 2, "n_head": 2, "pad_token_id": 0, "eos_token_id": 3}
    path = checkpoints.publish(tmp_path / "bloom", checkpoints.build("Bloom", **settings))
    assert not sees_across(pretrained.configuration(path), 4096)
    plan: Any = SimpleNamespace(examples=DOCUMENTS, tokenizer=checkpoints.tokenizer())
    with pytest.raises(TrainError, match="sees across packed documents"):
        worker._check_documents_apart(Engine(model._load(str(path), TrainConfig())), plan)


def test_chunked_attention_is_not_packed_past_its_chunk() -> None:
    settings = transformers.Llama4TextConfig(attention_chunk_size=64)
    assert not sees_across(settings, 64)
    assert sees_across(settings, 65)


def test_rows_of_one_document_each(tmp_path: Path) -> None:
    lengths, steps = [5, 3, 8, 2], [[0, 1, 2, 3], [2]]
    assert batch.accumulation(lengths, steps, capacity=100, num_workers=1) == 1
    assert batch.accumulation(lengths, steps, capacity=100, num_workers=1, alone=True) == 4
    assert batch.accumulation(lengths, steps, capacity=100, num_workers=3, alone=True) == 2
    rows = batch.pack(lengths, capacity=100, num_rows=6, alone=True)
    assert rows is not None
    assert sorted(map(len, rows)) == [0, 0, 1, 1, 1, 1]
    assert batch.pack(lengths, capacity=100, num_rows=3, alone=True) is None


def test_nothing_but_the_model_is_copied(start: Path, tmp_path: Path) -> None:
    """Weights of other formats are the start's, pickles and programs could be run, logs tell of another training."""
    copied = ["tekken.json", "merges.txt", "NOTICE", "special_tokens_map.json", "chat_template.jinja"]
    left = ["pytorch_model.bin", "optimizer.pt", "model.gguf", "modeling_x.py", "trainer_state.json"]
    left += ["adapter_config.json", "consolidated.safetensors.index.json", "rng_state.pth", ".gitattributes"]
    for name in copied + left:
        (start / name).write_text("x")
    (start / "additional_chat_templates").mkdir()
    (start / "additional_chat_templates" / "tool.jinja").write_text("{{ x }}")
    (start / "onnx").mkdir()
    (start / "onnx" / "model.onnx").write_text("x")
    shutil.rmtree(tmp_path / "export", ignore_errors=True)
    out = export(start, tmp_path / "export", trained(start))
    there = {file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file()}
    assert {*copied, "additional_chat_templates/tool.jinja", "LICENSE"} <= there
    assert not there & {*left, "onnx/model.onnx", "original/params.json", "consolidated.safetensors"}
