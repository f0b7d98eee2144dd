"""The tiny model that ships with the project: its world, its training, its weights.

Nothing in the rest of the package imports this; the quickstart only points at
its `model/` and `data/` folders.
"""

from pathlib import Path

HERE = Path(__file__).parent
MODEL_DIR = HERE / "model"
DATA_DIR = HERE / "data"
