"""The data sets by name."""

from s2d_loop.data.base import DataSet
from s2d_loop.data.coin_flip import COIN_FLIP
from s2d_loop.data.gsm8k import GSM8K
from s2d_loop.data.last_letters import LAST_LETTERS
from s2d_loop.data.mt_bench import MT_BENCH
from s2d_loop.data.oasst import OASST
from s2d_loop.data.sycophancy import SYCOPHANCY
from s2d_loop.errors import BadInputError

SETS = {each.name: each for each in (LAST_LETTERS, COIN_FLIP, SYCOPHANCY, OASST, GSM8K, MT_BENCH)}


def find_set(name: str) -> DataSet:
    """The set of this name; BadInputError lists those that there are."""
    if name not in SETS:
        raise BadInputError(f"there is no data set {name!r}; there are: {', '.join(SETS)}")
    return SETS[name]
