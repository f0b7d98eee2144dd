"""Models for the tests with real engines: the testbed's, or a random one of its shape, and variants."""

from collections.abc import Callable
from pathlib import Path

import pytest

from s2d_loop.records import Weights
from s2d_loop.testbed import MODEL_DIR

# A refresh of an engine of `engine_driver.ForgetfulEngine` does nothing where this file is.
FORGET = "FORGET"


@pytest.fixture(scope="session")
def make_weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Weights]:
    """Weights that differ from the model's own by a little noise, as a round of training does."""

    def make(digest: str, noise: float = 0.0, forget: bool = False) -> Weights:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from s2d_loop.testbed.pretrain import build_model
        from s2d_loop.testbed.tokenizer import build_tokenizer
        from s2d_loop.testbed.world import template_texts

        torch.manual_seed(0)
        if (Path(MODEL_DIR) / "config.json").is_file():
            tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
            model = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)
        else:
            tokenizer = build_tokenizer(template_texts(), 512)
            model = build_model(len(tokenizer), tokenizer)
            for parameter in model.parameters():
                parameter.data *= 5 if parameter.dim() == 2 else 1
        torch.manual_seed(1)
        for parameter in model.parameters():
            spread = parameter.data.std() if parameter.dim() == 2 else 1.0
            parameter.data += torch.randn_like(parameter) * spread * noise
        path = tmp_path_factory.mktemp(digest)
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
        if forget:
            (path / FORGET).touch()
        return Weights(str(path), digest)

    return make
