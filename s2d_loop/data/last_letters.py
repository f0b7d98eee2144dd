"""Last letter concatenation (the paper's section 4.2.1): 1,200 unique words, two in a question.

The paper names its sizes and not its words, so the words are this project's own or a person's.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from s2d_loop.data.base import TEST, TRAIN, VALIDATION, DataSet, Made, Rows, Wanted, shuffled
from s2d_loop.data.words import WORDS
from s2d_loop.errors import BadInputError
from s2d_loop.formats.base import Item

SIZES = {TRAIN: 200, VALIDATION: 200, TEST: 200}
_QUESTION = 'Take the last letters of the words in "{a} {b}" and concatenate them.'
_QUOTED = re.compile(r'"([^"]*)"')


def make(wanted: Wanted) -> Made:
    words = WORDS if wanted.words is None else read_words(Path(wanted.words).expanduser())
    return Made(questions(words, seed=wanted.seed))


def questions(words: Sequence[str], *, seed: int, sizes: Mapping[str, int] = SIZES) -> dict[str, Rows]:
    """Rows by file, no word in two questions.  The words are lower-case and differ.

    Raises:
        BadInputError: there are fewer than two words for every question.
    """
    needed = 2 * sum(sizes.values())
    if len(words) < needed:
        raise BadInputError(f"last_letters: {needed:,} different words are needed, there are {len(words):,}")
    drawn = iter(shuffled(words, seed, "last_letters"))
    return {name: [_row(next(drawn), next(drawn)) for _ in range(size)] for name, size in sizes.items()}


def read_words(path: Path) -> list[str]:
    """A file's words, one a line, in lower case, each once.

    Raises:
        BadInputError: it can't be read, or a line is not one word of English letters.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise BadInputError(f"--words {path}: can't be read: {said}") from None
    words = [(number, word) for number, line in enumerate(lines, 1) if (word := line.strip())]
    for number, word in words:
        if not (word.isascii() and word.isalpha()):
            raise BadInputError(
                f"--words {path}:{number}: {word[:40]!r} is not one word of the letters a to z"
            )
    return list(dict.fromkeys(word.lower() for _, word in words))


def words_of(item: Item) -> Iterable[str]:
    """The words that a question is about."""
    quoted = _QUOTED.search(item.messages[-1].content)
    return quoted[1].casefold().split() if quoted else ()


def _row(a: str, b: str) -> dict[str, str]:
    asked = _QUESTION.format(a=a.capitalize(), b=b.capitalize())
    return {"prompt": asked, "answer": a[-1] + b[-1]}


LAST_LETTERS = DataSet(
    name="last_letters",
    source="made here: the wording is the paper's, the words are this project's own or those of --words",
    licence="Apache-2.0, this project's; with --words, that of the words",
    sizes=SIZES,
    make=make,
    takes=frozenset({"seed", "words"}),
    keys=words_of,
    once=True,
)
