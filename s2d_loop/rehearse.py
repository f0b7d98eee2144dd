"""What a run would ask its model and train it on, tried without an engine, on the rows that it would use.

`preflight` calls it: a template that refuses the data, an answer that its limit cuts off, a checkpoint that
no export could match are found in seconds, and not after the first round's generation or training.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from s2d_loop.chat import reasoning
from s2d_loop.chat.loading import chat_settings, load_tokenizer
from s2d_loop.chat.template import arguments_of, knows, source_of
from s2d_loop.chat.tokens import Chat, UnusableError, is_mistral
from s2d_loop.config import Config, SamplingConfig, TaskConfig
from s2d_loop.errors import ConversationRefusedError
from s2d_loop.plan import Plan, system1_plans, system2_plans
from s2d_loop.records import HeldOut, Input, Messages
from s2d_loop.tasks.base import Task
from s2d_loop.tasks.registry import load_task
from s2d_loop.tasks.trivia_qa import read_reference, usable

THINK = "think"
# References that an answer's length is taken from.
_ANSWERS = 64


@dataclass(frozen=True, slots=True)
class Rows:
    """Inputs that a run would ask about, and where they come from: `sources.NAME`, `tasks.NAME.heldout`, ..."""

    where: str
    inputs: Sequence[Input]
    all_needed: bool
    """Whether a single one that can't be asked stops the run; others are dropped and counted."""


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """System 1's prompt of a task with a plausible answer, as the model sees them, and what else to know."""

    task: str
    prompt: str
    answer: str
    end: str
    num_prompt_tokens: int
    num_answer_tokens: int


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What came of it: `problems` stop a run, `notes` are for people."""

    problems: tuple[str, ...]
    notes: tuple[str, ...]
    rows: tuple[Rehearsed, ...]
    parser: str
    ends: tuple[str, ...]
    control: re.Pattern[str]
    """Finds the control tokens that a text spells out."""


def rehearse(
    config: Config,
    path: str,
    context: int | None,
    rows: Sequence[Rows],
    heldout: Mapping[str, Sequence[HeldOut]],
    vocabulary: int | None = None,
) -> Rehearsal:
    """Render the first real inputs, and train a plausible answer of every task on paper.

    Args:
        path: the model's directory.
        context: tokens of the engine's context, prompt and answer together.
        vocabulary: rows of the model's embedding.

    Raises:
        BadInputError: there is no tokenizer or template to try anything with.
    """
    settings = chat_settings(config.model, path)
    tokenizer, ends = load_tokenizer(path, settings)
    parser = reasoning.parser_name(tokenizer, settings.reasoning_parser)
    chat = Chat(tokenizer, ends)
    problems = [*_unknown_arguments(config, tokenizer), *_budgets(config, parser)]
    notes: list[str] = [*_dated(tokenizer, config)]
    plans = system1_plans(config)
    shown: list[Rehearsed] = []
    highest = -1
    for name, task in config.tasks.items():
        mine = [Rows(each.where, _of(each.inputs, name), each.all_needed) for each in rows]
        found = _Task(name, task, config, chat, plans[name], context)
        problems += found.cannot_end()
        for each in mine:
            problems += found.ask(each, notes)
        first = next((x for each in mine for x in each.inputs), None)
        if first is not None:
            problems += found.thinks(first, parser)
            shown += found.train(heldout.get(name, ()), problems, notes)
        highest = max(highest, found.highest)
    if vocabulary is not None:
        problems += _beyond(highest, len(tokenizer), vocabulary)
    return Rehearsal(
        problems=tuple(dict.fromkeys(problems)),
        notes=tuple(dict.fromkeys(notes)),
        rows=tuple(shown),
        parser=parser,
        ends=tuple(chat.decode([end]) for end in sorted(ends)),
        control=chat.control,
    )


def _of(inputs: Sequence[Input], task: str) -> list[Input]:
    return [x for x in inputs if x.task == task]


class _Task:
    """One task's questions to the model."""

    def __init__(
        self, name: str, task: TaskConfig, config: Config, chat: Chat, plan: Plan, context: int | None
    ) -> None:
        self._name, self._task, self._config, self._chat, self._context = name, task, config, chat, context
        self._plan = plan
        self._arguments = plan.sampling.chat_template_kwargs
        self.highest = -1
        """The highest token id of its prompts."""

    def cannot_end(self) -> Iterator[str]:
        try:
            self._chat.end_ids(self._arguments)
        except UnusableError as error:
            yield f"tasks.{self._name}.system1: {error}"
        except ConversationRefusedError as error:
            yield f"model.chat_template: {error}"

    def ask(self, rows: Rows, notes: list[str]) -> Iterator[str]:
        """Render every input as System 1 is asked it."""
        refused: list[tuple[Input, str]] = []
        long: list[tuple[Input, int]] = []
        limit = self._plan.sampling.max_tokens
        for x in rows.inputs:
            try:
                ids = self._chat.prompt_ids(_asked(x, self._plan), self._arguments)
            except ConversationRefusedError as error:
                refused.append((x, str(error)))
                continue
            self.highest = max(self.highest, *ids)
            if self._context is not None and len(ids) + limit > self._context:
                long.append((x, len(ids)))
        total = len(rows.inputs)
        if refused:
            said = f"{rows.where}: {len(refused)} of {total} inputs can't be asked, such as {refused[0][0].id}: {refused[0][1]}"
            if rows.all_needed or len(refused) == total:
                yield f"{said}; remove these rows, or name another template with model.chat_template"
            else:
                notes.append(f"{said}; such rows are dropped and counted")
        if long:
            x, length = max(long, key=lambda each: each[1])
            said = (
                f"{rows.where}: {len(long)} of {total} prompts leave no room for an answer of "
                f"tasks.{self._name}.system1.max_tokens {limit} in a context of {self._context} tokens; the longest, "
                f"{x.id}, has {length}"
            )
            if rows.all_needed or len(long) == total:
                yield f"{said}: raise engine.max_model_len, or remove these rows"
            else:
                notes.append(f"{said}; a row that doesn't fit at all is dropped and counted")

    def thinks(self, x: Input, parser: str) -> Iterator[str]:
        """The method `think` must ask for thoughts, and System 1 for none."""
        method = self._task.method
        if method.name != THINK or self._task.distill == "system1":
            return
        plan = system2_plans(self._config)[self._name]
        thinking = plan.steps.get(THINK, plan.sampling).chat_template_kwargs
        key = f"tasks.{self._name}.method.sampling.chat_template_kwargs"
        try:
            asked = self._chat.prompt_ids(x.messages, thinking)
            direct = self._chat.prompt_ids(x.messages, self._arguments)
        except ConversationRefusedError:
            return  # said already
        if asked == direct:
            known = ", ".join(sorted(arguments_of(source_of(self._chat.tokenizer)))) or "none"
            yield (
                f"{key}: the method `think` asks just what System 1 is asked: switch thoughts on here and off in "
                f"tasks.{self._name}.system1.chat_template_kwargs (this template takes: {known})"
            )
        if parser == reasoning.NONE:
            yield (
                f"tasks.{self._name}.method: `think` needs a model whose thoughts can be told from its answers, and "
                "neither its tokens nor its template know any: name model.reasoning_parser"
            )

    def train(self, heldout: Sequence[HeldOut], problems: list[str], notes: list[str]) -> Iterator[Rehearsed]:
        """Make training rows of plausible answers to held-out inputs."""
        answers = plausible(self._task, heldout)
        if not answers:
            notes.append(
                f"tasks.{self._name}: no reference shows what an answer looks like, so its length wasn't tried"
            )
            return
        rows = []
        for x, answer in answers:
            try:
                rows.append((x, answer, self._chat.row(x.messages, answer, self._arguments)))
            except UnusableError as error:
                problems.append(f"tasks.{self._name}: the answer {answer!r} can't be trained: {error}")
                return
            except ConversationRefusedError:
                return  # said already
        limit = self._plan.sampling.max_tokens
        cut = [(answer, len(row.answer_ids)) for _, answer, row in rows if len(row.answer_ids) > limit]
        if cut:
            answer, most = max(cut, key=lambda each: each[1])
            many = "every answer" if len(cut) == len(rows) else f"{len(cut)} of {len(rows)} answers"
            said = (
                f"tasks.{self._name}.system1.max_tokens: {limit} cuts off {many}, such as {answer!r}, of which this "
                f"tokenizer and template make {most} tokens with its end"
            )
            if len(cut) == len(rows):
                problems.append(f"{said}: give at least {most}")
            else:
                notes.append(said)
        room = self._config.train.micro_batch_tokens
        lengths = [len(row.prompt_ids) + len(row.answer_ids) for _, _, row in rows]
        long = [each for each in lengths if each > room]
        if long:
            said = (
                f"train.micro_batch_tokens: {room} is less than the tokens of {len(long)} of {len(rows)} training "
                f"rows of tasks.{self._name}, made of held-out inputs and their references; the longest has {max(long)}"
            )
            if len(long) == len(rows):
                problems.append(f"{said}: raise it")
            else:
                notes.append(f"{said}; such rows are dropped and counted")
        _, _, row = rows[0]
        end = self._chat.end_ids(self._arguments)
        yield Rehearsed(
            self._name,
            self._chat.decode(row.prompt_ids),
            self._chat.decode(row.answer_ids[: -len(end)]),
            self._chat.decode(end),
            len(row.prompt_ids),
            len(row.answer_ids),
        )


def plausible(task: TaskConfig, heldout: Sequence[HeldOut]) -> list[tuple[Input, str]]:
    """Replies that System 1 could well give: the references' answers, as the task writes them, each to its input."""
    parser = load_task(task.parser)
    found = [
        (each.input, parser.format(answer))
        for each in heldout[:_ANSWERS]
        if each.reference and (answer := _answer(task.parser, parser, each.reference)) is not None
    ]
    return [(x, text) for x, text in found if text.strip()]


def _answer(name: str, parser: Task, reference: str) -> str | None:
    """What a reply would say that the reference is right about; these two tasks' references are more than that."""
    if name == "trivia_qa":
        return next(iter(usable(read_reference(reference)[0])), None)
    return "A" if name == "pairwise" else parser.parse(reference)


def _asked(x: Input, plan: Plan) -> Messages:
    return x.ask(f"{x.question} {plan.suffix}") if plan.suffix else x.messages


def _unknown_arguments(config: Config, tokenizer: object) -> Iterator[str]:
    """Arguments that the template never reads: a misspelled switch would be on or off in silence."""
    if is_mistral(tokenizer):
        return
    source = source_of(tokenizer)
    for key, name in _given(config):
        if not knows(source, name):
            known = ", ".join(sorted(arguments_of(source))) or "none"
            yield f"{key}.{name}: the model's chat template knows no such argument (it takes: {known})"


def _given(config: Config) -> Iterator[tuple[str, str]]:
    """Every template argument that is configured, and where."""
    for name in config.model.chat_template_kwargs:
        yield "model.chat_template_kwargs", name
    for key, sampling in _samplings(config):
        for name in sampling.chat_template_kwargs:
            yield f"{key}.chat_template_kwargs", name


def _samplings(config: Config) -> Iterator[tuple[str, SamplingConfig]]:
    for task, each in config.tasks.items():
        yield f"tasks.{task}.system1", each.system1
        yield f"tasks.{task}.method.sampling", each.method.sampling
        yield f"tasks.{task}.curate.usc.sampling", each.curate.usc.sampling
        for step, sampling in each.method.steps.items():
            yield f"tasks.{task}.method.steps.{step}", sampling


def _budgets(config: Config, parser: str) -> Iterator[str]:
    """vLLM counts thoughts by the marks of its parser, and refuses every request where it has none."""
    if parser in reasoning.WITHOUT_MARKS:
        for key, sampling in _samplings(config):
            if sampling.thinking_token_budget is not None:
                yield (
                    f"{key}.thinking_token_budget: vLLM can't count the thoughts of this model (its parser is "
                    f"{parser!r}): remove it and bound the reply by max_tokens, or name model.reasoning_parser"
                )


def _dated(tokenizer: object, config: Config) -> Iterator[str]:
    """A prompt that holds today's date is another one tomorrow."""
    source = "" if is_mistral(tokenizer) else source_of(tokenizer)
    if "strftime_now" in source and "date_string" not in config.model.chat_template_kwargs:
        fixed = ": give date_string in model.chat_template_kwargs" if knows(source, "date_string") else ""
        yield f"the chat template writes today's date into prompts, so tomorrow's are others{fixed}"


def _beyond(highest: int, size: int, vocabulary: int) -> Iterator[str]:
    """Token ids for which the model has no embedding."""
    if highest >= vocabulary:
        yield (
            f"model.path: the prompts hold token {highest}, and the model's embedding has {vocabulary} rows: tokenizer "
            f"(of {size} tokens) and weights are not of the same model, or tokens were added without resizing it"
        )
