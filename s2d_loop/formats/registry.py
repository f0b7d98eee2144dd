"""The formats by name."""

from s2d_loop.errors import BadInputError
from s2d_loop.formats.base import Format
from s2d_loop.plugins import resolve

FORMATS: dict[str, str] = {
    "rar": "s2d_loop.formats.rar:Rar",
    "sycophancy": "s2d_loop.formats.sycophancy:Sycophancy",
    "sycophancy_trivia_qa": "s2d_loop.formats.sycophancy:SycophancyTriviaQa",
    "oasst": "s2d_loop.formats.oasst:Oasst",
    "pandalm": "s2d_loop.formats.pandalm:PandaLm",
    "mt_bench": "s2d_loop.formats.mt_bench:MtBench",
    "gsm8k": "s2d_loop.formats.gsm8k:Gsm8k",
    "requests": "s2d_loop.formats.requests:Requests",
}


def load_format(name: str) -> Format:
    """The format that a source or a held-out set names."""
    found = resolve("format", name, FORMATS)
    made = found() if isinstance(found, type) else found
    if not isinstance(made, Format):
        missing = [each for each in ("columns", "items", "references") if not hasattr(made, each)]
        raise BadInputError(f"format {name!r} has no {', no '.join(missing)}")
    return made
