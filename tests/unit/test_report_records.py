"""Made-up runs for the report's tests, and a check that they are what the ledger would hold."""

import math
import random
from typing import Any

from s2d_loop.records import Call, Generation, Input, Message, Sample, Verdict, Votes
from s2d_loop.report.examples import Shown

TASKS = ("last_letters", "coin_flip")
REASONS = {
    "no_winner": 0.5,
    "low_share": 0.25,
    "perturbation": 0.15,
    "unparsable": 0.06,
    "cut_off": 0.03,
    "empty": 0.01,
}


def wilson(accuracy: float, n: int) -> dict[str, Any]:
    spread = 1.96 * math.sqrt(max(accuracy * (1 - accuracy), 0.002) / n)
    return {
        "accuracy": accuracy,
        "low": max(0.0, accuracy - spread),
        "high": min(1.0, accuracy + spread),
        "n": n,
        "unparsable": 0.01,
    }


def commits(
    iterations: int, tasks: tuple[str, ...] = TASKS, hold: tuple[int, ...] = (), seed: int = 0
) -> list[dict[str, Any]]:
    """A run that learns, with `hold` iterations that the gate held back."""
    rng = random.Random(seed)
    config = {
        "run": {"dir": "/runs/demo", "iterations": iterations, "seed": 0},
        "model": {"path": "testbed://model"},
        "tasks": {task: {"parser": task} for task in tasks},
    }
    made: list[dict[str, Any]] = [
        {"seq": 0, "kind": "run", "time": "2026-11-20T08:00:00+00:00", "facts": {"config": config}}
    ]

    def commit(
        iteration: int, stage: str, seconds: float, counts: dict[str, Any], facts: dict[str, Any]
    ) -> None:
        seq = len(made)
        time = f"2026-11-{20 + seq // 600:02d}T{8 + (seq // 60) % 10:02d}:{seq % 60:02d}:00+00:00"
        made.append(
            {
                "seq": seq, "kind": "stage", "iteration": iteration, "stage": stage, "attempt": f"a{seq}",
                "time": time, "seconds": seconds, "counts": counts, "files": [], "facts": facts,
            }
        )  # fmt: skip

    best = dict.fromkeys(tasks, 0.04)
    now = dict(best)

    def score(accuracy: float, tokens: float) -> dict[str, Any]:
        return wilson(min(0.99, max(0.0, accuracy + rng.uniform(-0.015, 0.015))), 400) | {"tokens": tokens}

    def evaluate(iteration: int) -> dict[str, Any]:
        return {
            "weights": f"w{iteration}",
            "by_task": {
                task: {
                    "reference": "labels" if task != "open" else "vote",
                    "system1": score(now[task], 3.1 + n),
                    "system2": score(0.71 + 0.18 * n, 61.0 + 40 * n) if iteration % 2 == 0 else None,
                    "current": score(best[task], 3.1 + n) if iteration else None,
                }
                for n, task in enumerate(tasks)
            },
        }

    commit(0, "heldout", 0.2, {"in": 800, "out": 800, "dropped": {}}, {"by_task": dict.fromkeys(tasks, 400)})
    commit(0, "evaluate", 21.0, {"in": 800, "out": 800, "dropped": {}}, evaluate(0))
    for iteration in range(1, iterations + 1):
        reached = 1 - math.exp(-2.2 * iteration / iterations)
        signs = {}
        for n, task in enumerate(tasks):
            inputs = 1000
            kept = int(inputs * (0.62 + 0.2 * reached - 0.1 * n))
            left = inputs - kept
            dropped = {reason: int(left * part) for reason, part in REASONS.items()}
            dropped["no_winner"] += left - sum(dropped.values())
            signs[task] = {
                "inputs": inputs, "kept": kept, "dropped": dropped, "kept_share": kept / inputs,
                "agreement": 0.05 + 0.85 * reached + rng.uniform(-0.02, 0.02) - 0.08 * n,
                "already": 0.04 + 0.8 * reached - 0.05 * n if iteration > 1 or n == 0 else None,
                "self_agreement": 0.7 + 0.2 * reached + 0.05 * n, "entropy": 1.4 - 0.7 * reached + 0.3 * n,
                "distinct_answers": 400, "top_answer_share": 0.02 + 0.48 * n, "unparsable_share": 0.02,
                "tokens_per_input": 490.0, "direct_tokens_per_answer": 3.1,
            }  # fmt: skip
            now[task] = best[task] + (0.03 + 0.9 * reached - best[task]) * (0.6 if iteration in hold else 1)
        total = 1000 * len(tasks)
        kept_all = sum(s["kept"] for s in signs.values())
        dropped_all = {r: sum(s["dropped"][r] for s in signs.values()) for r in REASONS}
        commit(
            iteration,
            "intake",
            1.2,
            {"in": total, "out": total, "dropped": {}},
            {"by_task": dict.fromkeys(tasks, 1000), "sources": {}},
        )
        commit(
            iteration,
            "generate",
            48 + 9 * rng.random(),
            {"in": total, "out": total, "dropped": {}},
            {"weights": "w", "by_task": {}, "tokens_per_second": 11890.4 + 900 * rng.random()},
        )
        commit(
            iteration,
            "curate",
            3.4,
            {"in": total, "out": kept_all, "dropped": dropped_all},
            {"by_task": signs},
        )
        commit(
            iteration,
            "pool",
            0.8,
            {"in": kept_all, "out": kept_all, "dropped": {}},
            {"new": kept_all, "replayed": 0, "training": kept_all, "by_task": {}},
        )
        commit(
            iteration,
            "train",
            64 + 8 * rng.random(),
            {"in": kept_all, "out": kept_all, "dropped": {}},
            {
                "steps": 100,
                "losses": [2.0, 1.1, 0.9 / iteration],
                "tokens": 50000,
                "answer_tokens": 9000,
                "weights": {"path": "w", "digest": "d"},
            },
        )
        commit(iteration, "evaluate", 22.0, {"in": 800, "out": 800, "dropped": {}}, evaluate(iteration))
        decision = "hold" if iteration in hold else "promote"
        gain = {
            t: {"difference": now[t] - best[t], "low": 0.0, "high": 0.1, "decision": decision} for t in tasks
        }
        told = (
            "no worse than the promoted weights beyond the margin of 2.0 points"
            if decision == "promote"
            else "worse than the promoted weights by more than the margin of 2.0 points"
        )
        sentence = (
            f"{decision.capitalize()}: "
            + "; ".join(
                f"{t} measures {100 * now[t]:.1f} % against {100 * best[t]:.1f} %, {told}" for t in tasks
            )
            + "."
        )
        commit(
            iteration,
            "gate",
            0.1,
            {"in": 0, "out": 0, "dropped": {}},
            {"decision": decision, "by_task": gain, "sentence": sentence},
        )
        if decision == "promote":
            best = dict(now)
            commit(
                iteration,
                "promote",
                1.5,
                {"in": 0, "out": 0, "dropped": {}},
                {"weights": {"path": "w", "digest": "d"}},
            )
    return made


def example(
    number: int = 0,
    reason: str = "kept",
    task: str = "last_letters",
    question: str | None = None,
    answer: str = "kd",
    traces: bool = True,
) -> Shown:
    """One input with eight votes."""
    asked = question or f"Take the last letters of the words in 'Derrick Brad {number}' and concatenate them."
    given = Input(f"names:part-0#{number}", task, (Message("user", asked),), f"h{number}")
    kept = reason == "kept"
    votes = (Votes(answer, 6), Votes("dk", 1)) if kept else (Votes(answer, 3), Votes("dk", 3), Votes("kb", 1))
    answered = answer if kept else None
    verdict = Verdict(
        input=given,
        weights="w0",
        reason=reason,
        answer=answered,
        target=answered,
        share=0.75 if kept else 0.375,
        votes=votes,
        num_samples=8,
        unparsable=1,
        entropy=0.59,
        direct_agrees=0.5 if kept else None,
        num_tokens=488,
        num_direct_tokens=6,
    )
    calls = tuple(
        Call(step, 0, n, f"{asked} Let us {step}.", f"Derrick ends with k, Brad with d: {answer}", 31)
        for n, step in enumerate(("rephrase", "respond"))
    )
    samples = tuple(Sample(answer, True) for _ in range(8))
    generation = Generation(given, "w0", "rar_2step", samples, samples[:2], (), calls, 16, 488, 6, None)
    return Shown(verdict, generation if traces else None)


def test_every_stage_of_a_made_up_run_accounts_for_its_rows() -> None:
    for commit in commits(2):
        if commit["kind"] == "stage":
            counts = commit["counts"]
            assert counts["in"] == counts["out"] + sum(counts["dropped"].values())
