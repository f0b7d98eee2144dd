"""Which architectures keep the documents of one row apart, when positions restart at every document.

Only a probe of the model itself proves it (`worker.py`); what is known beforehand saves loading it twice.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch

from s2d_loop.engine import pretrained

# transformers' names for layers that carry something along a row, whatever the positions are.
_ALONG_A_ROW = {"linear_attention", "conv", "hybrid", "hybrid_sliding"}


def sees_across(settings: Any, row_tokens: int | None = None) -> bool:
    """Whether a configuration says that documents of a row of this many tokens would meet."""
    found, settings = pretrained.text_class(settings)
    text = settings.get_text_config()
    chunk = getattr(text, "attention_chunk_size", None)
    return bool(
        found._is_stateful
        or _ALONG_A_ROW & set(getattr(text, "layer_types", None) or ())
        # Chunks are counted from the row's start, so a document behind others is cut elsewhere.
        or (chunk and row_tokens and row_tokens > chunk)
    )


def positions(settings: Any, position_ids: Sequence[int], device: Any) -> torch.Tensor:
    """Positions of one row as its model takes them, of shape (1, tokens) or (4, 1, tokens).

    Models whose positions have a time, a height and a width take the boundaries from a fourth, the text's own.
    """
    row = torch.tensor([list(position_ids)], device=device)
    rope = getattr(settings.get_text_config(), "rope_parameters", None) or {}
    packed = any(after != before + 1 for before, after in pairwise(position_ids))
    return row.expand(4, 1, -1) if packed and "mrope_section" in rope else row
