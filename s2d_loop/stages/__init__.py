"""The stages: each reads what earlier ones committed, does its work, and returns its balance.

A stage knows its inputs, never its successors; `loop` knows the order.  Tables are written under the
attempt that the loop hands in, and count once the loop has committed it.
"""

from s2d_loop.stages.attribute import attribute
from s2d_loop.stages.curate import curate_stage
from s2d_loop.stages.decide import gate, promote
from s2d_loop.stages.evaluate import evaluate
from s2d_loop.stages.generate import generate, probe
from s2d_loop.stages.intake import heldout, intake
from s2d_loop.stages.pool import pool
from s2d_loop.stages.run import Balance, Run
from s2d_loop.stages.stopping import stops
from s2d_loop.stages.train import sweep_training, train
from s2d_loop.stages.triage import triage, triages
from s2d_loop.stages.waiting import wait_for_inputs

__all__ = [
    "Balance",
    "Run",
    "attribute",
    "curate_stage",
    "evaluate",
    "gate",
    "generate",
    "heldout",
    "intake",
    "pool",
    "probe",
    "promote",
    "stops",
    "sweep_training",
    "train",
    "triage",
    "triages",
    "wait_for_inputs",
]
