"""Table 4's dropout, where open models have it: on attention weights, under a name of each architecture's own."""

from typing import Any

from s2d_loop.config.training import TrainConfig
from s2d_loop.errors import BadInputError

_NAMES = ("attention_dropout", "attn_pdrop", "attention_probs_dropout_prob", "attn_dropout")


def attention_dropouts(settings: Any) -> list[str]:
    """What a configuration of transformers' calls it in its text part; nothing where it has none."""
    return [name for name in _NAMES if hasattr(settings.get_text_config(), name)]


def set_attention_dropout(settings: Any, config: TrainConfig) -> None:
    """Set `train.dropout` in a model's configuration.

    Raises:
        BadInputError: the user asked for a rate above 0, and the architecture has no attention dropout.
            The default rate gives way.
    """
    found = attention_dropouts(settings)
    if not found and config.dropout > 0 and "dropout" in config.model_fields_set:
        raise BadInputError(no_dropout(settings))
    for name in found:
        setattr(settings.get_text_config(), name, config.dropout)


def no_dropout(settings: Any) -> str:
    """What to tell whoever asked for it."""
    return (
        f"train.dropout: {settings.name_or_path or 'the model'} is a {settings.model_type}, which has no attention "
        "dropout: set train.dropout: 0, or leave it out"
    )
