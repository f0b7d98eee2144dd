"""Prompts as text files: `prompts/NAME.txt`, or `prompts/NAME.VARIANT.txt` where tasks differ.

Slots look like `{question}`.  Model text goes into them, so filling is one pass over the template:
braces in the text that is put in are never looked at.
"""

import functools
import re
from pathlib import Path

PROMPTS = Path(__file__).parent / "prompts"
DEFAULT = "default"


@functools.cache
def load(name: str, variant: str | None = None) -> str:
    """A prompt's text; a variant that has no file of its own is the default one."""
    if variant is None:
        path = PROMPTS / f"{name}.txt"
    else:
        path = PROMPTS / f"{name}.{variant}.txt"
        if not path.exists():
            path = PROMPTS / f"{name}.{DEFAULT}.txt"
    return path.read_text(encoding="utf-8").removesuffix("\n")


def fill(template: str, **slots: str) -> str:
    """The template with every `{slot}` replaced; a slot that the template lacks is an error."""
    for slot in slots:
        if f"{{{slot}}}" not in template:
            raise ValueError(f"the prompt has no {{{slot}}} slot, so its text would be lost: {template!r}")
    pattern = "|".join(rf"\{{{re.escape(slot)}\}}" for slot in slots)
    return re.sub(pattern, lambda found: slots[found.group()[1:-1]], template)
