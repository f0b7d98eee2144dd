"""The small run that is simulated, and where its files lie."""

from dataclasses import dataclass
from functools import lru_cache

from s2d_loop.config import Config

RUN = "/simulated/root/run"
BUCKET = "simulated://bucket/run"
INPUTS = "/simulated/inputs"


@dataclass(frozen=True)
class Size:
    """How much there is to do."""

    iterations: int = 3
    inputs: int = 2
    heldout: int = 2
    samples: int = 2
    forever: bool = False
    """Rounds start when inputs have come, and nothing ends the run but a signal."""
    keep: int = 5
    """Versions, rounds and so on that retention leaves."""


USUAL = Size()


@lru_cache
def configuration(size: Size, seed: int) -> Config:
    """A last-letters run over the watched folder."""
    return Config.model_validate(
        {
            "run": {
                "dir": RUN,
                "weights_dir": f"{RUN}/weights",
                "seed": seed,
                "iterations": None if size.forever else size.iterations,
                "max_wait_s": 30.0,
                "inputs_per_iteration": size.inputs,
                "min_free_gb": 0.0,
            },
            "model": {"path": f"{INPUTS}/start"},
            "tasks": {
                "letters": {
                    "parser": "last_letters",
                    "method": {"name": "rar_1step", "samples": size.samples},
                    "direct_samples": 1,
                    "heldout": {"type": "jsonl", "path": f"{INPUTS}/heldout.jsonl"},
                }
            },
            "sources": [
                {"task": "letters", "type": "directory", "path": f"{INPUTS}/stream", "name": "stream"}
            ],
            "generate": {"probe_inputs": 1, "min_kept_share": 0.0, "teacher": "current"},
            "train": {"steps": 2},
            # Two held-out inputs are no evidence at any usual level: it promotes what doesn't measure worse.
            "gate": {"margin": 0.75, "level": 0.99, "looks": 3},
            "retention": dict.fromkeys(("promoted", "held", "rounds", "traces", "pool"), size.keep),
        }
    )
