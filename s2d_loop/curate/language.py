"""Is a text clearly in a language that nobody asked for?

The classifier (py3langid, whose model is in its wheel) is calibrated: it says how sure it is. A word or
two, letters, numbers and code have no language that it would be sure of, and pass.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from s2d_loop.errors import BadInputError

SURE = 0.8
"""Below this probability a language is a guess. At this one no GSM8K answer is taken for foreign."""


def in_other_language(text: str, wanted: Sequence[str]) -> bool:
    """Whether the text is surely in a language outside `wanted` (ISO 639 codes)."""
    language, confidence = _classifier().classify(text)
    return confidence >= SURE and language not in wanted


def check_languages(wanted: Sequence[str]) -> None:
    """Raises BadInputError for a code that no text could be given."""
    if not wanted:
        return
    known = _classifier().labels
    if unknown := [code for code in wanted if code not in known]:
        raise BadInputError(
            f"curate.languages: {', '.join(map(repr, unknown))} is no code of a language that can be told "
            f"(ISO 639, such as 'en', 'de', 'zh'; there are {len(known)})"
        )


@cache
def _classifier() -> Any:
    # Read once a process, and only where the filter is on: it takes a second.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
