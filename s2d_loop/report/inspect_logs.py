"""A run as Inspect logs (https://inspect.aisi.org.uk), for `inspect view` and what else reads them.

One log for each evaluation, task and system; and one for the traces that a round kept, a sample an input
with its calls in order.  Needs the extra `inspect`.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from s2d_loop.errors import BadInputError
from s2d_loop.evaluate.suite import by_task, figures
from s2d_loop.ledger import Ledger, LedgerError, Record
from s2d_loop.records import Call, HeldOut, Message, Scored, Verdict, rows
from s2d_loop.report.history import kept_calls

SCORER = "s2d_loop"

T = TypeVar("T")


def write(ledger: Ledger, folder: Path) -> list[Path]:
    """Write every log of a run; returns the files, in the order of the run.

    Raises:
        BadInputError: inspect_ai is not installed.
    """
    try:
        from inspect_ai.log import write_eval_log
    except ImportError as error:
        raise BadInputError("inspect_ai is not installed: pip install 's2d-loop[inspect]'") from error
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, log in _logs(ledger):
        path = folder / f"{name}.eval"
        write_eval_log(log, path)
        written.append(path)
    return written


def _logs(ledger: Ledger) -> Iterator[tuple[str, Any]]:
    fixed = ledger.stage(0, "heldout")
    items = {x.input.id: x for x in rows(ledger.tables(fixed, "heldout"), HeldOut)} if fixed else {}
    for record in ledger.live:
        if record.stage == "evaluate" and ledger.holds(record, "scored"):
            scored = list(rows(ledger.tables(record, "scored"), Scored))
            for task, of_task in by_task(scored).items():
                for system in dict.fromkeys(each.system for each in of_task):
                    answers = [each for each in of_task if each.system == system]
                    name = f"{record.iteration:05d}-{quote(task, safe='')}-{quote(system, safe='')}"
                    yield name, _evaluation(record, task, system, answers, items)
        elif record.stage == "curate" and ledger.holds(record, "verdicts"):
            generated = ledger.stage(record.iteration, "generate")
            if generated is not None and (traces := kept_calls(ledger, generated)):
                verdicts = {v.input.id: v for v in rows(ledger.tables(record, "verdicts"), Verdict)}
                yield f"{record.iteration:05d}-traces", _traces(record, traces, verdicts)


def _evaluation(
    record: Record, task: str, system: str, answers: list[Scored], items: dict[str, HeldOut]
) -> Any:
    from inspect_ai.log import EvalMetric, EvalResults, EvalSample, EvalScore
    from inspect_ai.model import ModelOutput
    from inspect_ai.scorer import Score

    model = str(record.facts["weights"])
    samples = []
    for each in answers:
        item = _of(items, each.input_id, record)
        output = ModelOutput.from_content(model, each.text)
        value = {True: "C", False: "I", None: "N"}[each.correct]
        samples.append(
            EvalSample(
                id=each.input_id,
                epoch=1,
                input=_chat(item.input.messages),
                target=item.reference or "",
                messages=[*_chat(item.input.messages), output.choices[0].message],
                output=output,
                scores={SCORER: Score(value=value, answer=each.answer, explanation=each.text)},
                metadata={"tokens": each.num_tokens, "category": item.category},
            )
        )
    found = figures(answers)
    metrics = {
        name: EvalMetric(name=name, value=found[name])
        for name in ("accuracy", "low", "high", "tokens", "unparsable")
        if found[name] is not None
    }
    results = EvalResults(
        total_samples=len(samples),
        completed_samples=len(samples),
        scores=[EvalScore(name=SCORER, scorer=SCORER, metrics=metrics)],
    )
    return _log(record, f"{task}/{system}", task, model, samples, results)


def _traces(record: Record, traces: dict[str, tuple[Call, ...]], verdicts: dict[str, Verdict]) -> Any:
    from inspect_ai.log import EvalResults, EvalSample
    from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, ModelOutput
    from inspect_ai.scorer import Score

    samples = []
    model = ""
    for input_id, kept in traces.items():
        verdict = _of(verdicts, input_id, record)
        model = verdict.weights
        calls: list[Any] = []
        for call in kept:
            about = {"step": call.step, "sample": call.sample, "index": call.index}
            calls += [
                ChatMessageUser(content=call.prompt, metadata=about),
                ChatMessageAssistant(content=_said(call), metadata=about | {"tokens": call.num_tokens}),
            ]
        samples.append(
            EvalSample(
                id=input_id,
                epoch=1,
                input=_chat(verdict.input.messages),
                target="",
                messages=calls,
                output=ModelOutput.from_content(model, verdict.target or ""),
                scores={"curation": Score(value=verdict.reason, answer=verdict.answer)},
                metadata={"votes": {vote.answer: vote.count for vote in verdict.votes}},
            )
        )
    results = EvalResults(total_samples=len(samples), completed_samples=len(samples))
    return _log(record, "traces", "traces", model, samples, results)


def _of(found: Mapping[str, T], input_id: str, record: Record) -> T:
    if input_id not in found:
        raise LedgerError(f"round {record.iteration}: there is no input {input_id}: run `s2d doctor`")
    return found[input_id]


def _said(call: Call) -> Any:
    """A reply as Inspect shows it, its thoughts apart."""
    from inspect_ai.model import ContentReasoning, ContentText

    if not call.reasoning:
        return call.text
    return [ContentReasoning(reasoning=call.reasoning), ContentText(text=call.text)]


def _log(record: Record, task: str, dataset: str, model: str, samples: list[Any], results: Any) -> Any:
    from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalSpec

    return EvalLog(
        status="success",
        eval=EvalSpec(
            created=record.time,
            task=task,
            dataset=EvalDataset(name=dataset, samples=len(samples)),
            model=f"s2d/{model[:12]}",
            config=EvalConfig(epochs=1),
            metadata={"iteration": record.iteration, "stage": record.stage},
        ),
        results=results,
        samples=samples,
    )


def _chat(messages: Iterable[Message]) -> list[Any]:
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

    kinds = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}
    return [kinds.get(each.role, ChatMessageUser)(content=each.content) for each in messages]
