"""The model card of an export."""

from collections.abc import Mapping
from typing import Any


def model_card(facts: Mapping[str, Any]) -> str:
    """A README that says how the weights came to be; one line a fact."""
    lines = [f"- **{name.replace('_', ' ')}**: {value}" for name, value in facts.items()]
    return "\n".join(
        [
            "---",
            "library_name: transformers",
            "pipeline_tag: text-generation",
            "tags: [s2d-loop, system-2-distillation]",
            "---",
            "",
            "# Distilled weights",
            "",
            "Trained by s2d_loop on a model's own filtered answers, loss on answer tokens only.",
            "The weights they started from keep their licence, and so do these.",
            "",
            *lines,
            "",
        ]
    )
