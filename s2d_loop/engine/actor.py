"""One vLLM engine as a Ray actor.

`pool.py` starts, refreshes, proves and replaces it; `client.py` sends it work, through a mailbox
(`mailbox.py`), and only after the manager has admitted the weights it serves.  An engine whose core
has died ends its own process: Ray then tells everybody, and nothing is tried against it again.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

from s2d_loop.chat import reasoning
from s2d_loop.chat.loading import ChatSettings, load_tokenizer
from s2d_loop.chat.tokens import chat_of
from s2d_loop.config.generation import EngineConfig
from s2d_loop.engine import processes, proof, settings
from s2d_loop.engine.mailbox import Mailboxes
from s2d_loop.engine.prompts import Prompts, TooLongError
from s2d_loop.engine.wire import Outcome, Proof, Refusal, Ticket
from s2d_loop.errors import ConversationRefusedError, EngineError
from s2d_loop.records import Reply, Request, TemplateArguments, Weights
from s2d_loop.terminal import last_words

# How often the engine looks whether its core lives.
PULSE_S = 0.5
# Exit status of an engine whose core died; it shows in Ray's message about the actor.
CORE_DIED = 70


class Engine:
    """An engine that serves one version of the weights at a time.

    Life: `start` or `refresh`, then `prove`, then `admit`; from then on requests are served.
    """

    def __init__(
        self,
        config: EngineConfig,
        *,
        chat: ChatSettings,
        name: str,
        log: str,
        gpu: bool,
        across_nodes: bool,
        slot: int,
    ):
        self._config = config
        self._settings = chat
        self._name = name
        self._log = Path(log)
        self._gpu = gpu
        self._across_nodes = across_nodes
        processes.redirect_output(self._log)
        self._group = processes.guard_descendants()
        if not gpu and settings.num_ranks(config) > 1:
            os.environ["VLLM_CPU_OMP_THREADS_BIND"] = settings.thread_binding(config, slot)
        self._mail = Mailboxes(self._serve)
        self._engine: Any = None
        self._tokenizer: Any = None
        self._ends: frozenset[int] = frozenset()
        self._parser = reasoning.NONE
        self._loaded: Weights | None = None
        self._admitted: str | None = None
        self._calls = 0

    async def start(self, weights: Weights) -> None:
        """Start vLLM on `weights`.  Whoever calls this holds the time limit: vLLM can hang here."""
        try:
            await asyncio.to_thread(self._build, weights.path)
            # vLLM asks its core for this before every request until it has the first answer.
            await self._engine.get_supported_tasks()
        except Exception as error:
            said = " ".join(f"{type(error).__name__}: {error}".split())[:500]
            cause = processes.causes(self._log) or said
            raise EngineError(
                f"it did not start on {weights.path}: {cause} (all of it: {self._log})"
            ) from None
        self._prompts = Prompts(chat_of(self._tokenizer, self._ends), self._context())
        self._loaded = weights
        self._pulse = asyncio.create_task(self._watch_core())

    def _build(self, path: str) -> None:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        context = self._config.max_model_len or settings.context_of(path)
        args = settings.engine_args(
            self._config, path, context=context, gpu=self._gpu, across_nodes=self._across_nodes
        )
        self._tokenizer, self._ends = load_tokenizer(path, self._settings)
        self._parser = reasoning.parser_name(self._tokenizer, self._settings.reasoning_parser)
        if self._settings.tokenizer_mode == "mistral":
            args["tokenizer_mode"] = "mistral"
        if self._parser not in reasoning.WITHOUT_MARKS:
            # For budgets of thoughts, which vLLM itself keeps.
            args["reasoning_parser"] = self._parser
        self._engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**args))

    async def refresh(self, weights: Weights) -> None:
        """Replace the weights in place; requests are refused until these are admitted."""
        self._admitted = None
        self._mail.refuse(f"engine {self._name} is being refreshed")
        await self._engine.pause_generation(mode="abort")
        try:
            self._loaded = None
            await self._reload(weights)
            if not await self._engine.reset_prefix_cache():
                raise EngineError(f"engine {self._name}: the prefix cache is in use and was not reset")
        finally:
            await self._engine.resume_generation()
        self._loaded = weights

    async def _reload(self, weights: Weights) -> None:
        await self._engine.collective_rpc("reload_from", args=(weights.path,))

    async def reference(self, path: str) -> proof.Reference | None:
        """A checkpoint's own answers on the canaries: made here, where torch is loaded already."""
        return await asyncio.to_thread(proof.load_reference, path, self._settings)

    async def prove(self, tokens: proof.Tokens | None = None) -> Proof:
        """What this engine says on the canaries."""
        rows = tokens if tokens is not None else proof.canary_tokens(self._tokenizer, self._ends)
        rows = tuple(row[: self._context() - proof.SAMPLED_TOKENS - 1] for row in rows)
        full = await asyncio.gather(*(self._read(row) for row in rows))
        drawn = await asyncio.gather(*(self._draw(row, seed) for seed, row in enumerate(rows)))
        samples = tuple(sample for sample, _ in drawn)
        whole = [row + sample for row, sample in zip(rows, samples, strict=True)]
        again = await asyncio.gather(*(self._read(row) for row in whole))
        return Proof(
            dtype=str(self._engine.model_config.dtype).removeprefix("torch."),
            scores=tuple(full),
            samples=samples,
            sampled=tuple(logprobs for _, logprobs in drawn),
            rescored=tuple(r[len(row) - 1 :] for r, row in zip(again, rows, strict=True)),
        )

    async def admit(self, digest: str) -> None:
        """Serve from now on; the manager calls this when the proof was good."""
        if self._loaded is None or self._loaded.digest != digest:
            raise EngineError(f"engine {self._name} can't be admitted for {digest}: it has not loaded it")
        self._admitted = digest

    async def submit(self, client: str, tickets: list[Ticket]) -> None:
        """Take requests; their outcomes go to the client's mailbox."""
        self._mail.of(client).submit(tickets)

    async def collect(self, client: str) -> list[Outcome]:
        """What has finished for a client; waits for the first."""
        return await self._mail.of(client).collect()

    async def drop(self, client: str, numbers: list[int]) -> None:
        """Stop requests whose client gave up on them."""
        self._mail.of(client).drop(numbers)

    async def health(self) -> None:
        """Generate a token: a port that answers proves nothing."""
        row = proof.canary_tokens(self._tokenizer, self._ends)[0][: self._context() - 2]
        await self._generate(row, max_tokens=1, temperature=0.0)

    async def lifetime(self) -> None:
        """Never returns: it fails when this process ends, which is how the manager learns of it."""
        await asyncio.Event().wait()

    async def pids(self) -> list[int]:
        """This process and every process it started."""
        return [os.getpid(), *(process.pid for process in processes.members(self._group))]

    async def close(self) -> list[int]:
        """End every process this engine started; the ids of those that had to be killed."""
        self._admitted = None
        if self._engine is not None:
            self._pulse.cancel()
            self._mail.refuse(f"engine {self._name} is closed")
        return await asyncio.to_thread(processes.end_members, self._group)

    async def _serve(self, request: Request) -> Reply | Refusal:
        sampling = request.sampling
        try:
            row = await self._prompts.ids(request.messages, sampling.chat_template_kwargs)
        except ConversationRefusedError as refused:
            return Refusal(str(refused), retry=False, refused=True)
        except TooLongError as long:
            return Refusal(
                f"the prompt has {long}, but the engine's context is {self._context()} tokens "
                f"(engine.max_model_len), answer included: drop the input or raise the limit",
                retry=False,
                too_long=True,
            )
        digest = self._admitted  # after the prompt is made: others may have come while that took its time
        if digest is None:
            return Refusal(f"engine {self._name} serves no proved weights", retry=True)
        if request.read is not None:
            return await self._read_answer(row, request, digest)
        output = await self._generate(
            row,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            thinking_token_budget=sampling.thinking_token_budget,
            seed=request.seed,
        )
        (answer,) = output.outputs
        return self._reply(row, tuple(answer.token_ids), answer, sampling.chat_template_kwargs, digest)

    def _reply(
        self,
        row: tuple[int, ...],
        ids: tuple[int, ...],
        answer: Any,
        arguments: TemplateArguments,
        digest: str,
    ) -> Reply:
        """What the engine generated, its thoughts apart from its text."""
        finished = answer.finish_reason == "stop"
        said, end = (ids[:-1], ids[-1:]) if finished and ids[-1:] and ids[-1] in self._ends else (ids, ())
        split = reasoning.split(self._tokenizer, self._parser, row, said, answer.text, arguments)
        return Reply(
            text=split.text,
            num_tokens=len(ids),
            num_prompt_tokens=len(row),
            finished=finished and split.closed,
            weights=digest,
            reasoning=split.reasoning,
            num_reasoning_tokens=len(said) - len(split.token_ids)
            if split.reasoning or not split.closed
            else 0,
            token_ids=(*split.token_ids, *end) if end and split.token_ids else (),
            sampled_ids=ids if end else (),
        )

    async def _generate(self, row: tuple[int, ...], **sampling: Any) -> Any:
        from vllm import SamplingParams
        from vllm.inputs import tokens_input
        from vllm.sampling_params import RequestOutputKind

        params = SamplingParams(n=1, output_kind=RequestOutputKind.FINAL_ONLY, skip_clone=True, **sampling)
        self._calls += 1
        final = None
        async for output in self._engine.generate(tokens_input(list(row)), params, str(self._calls)):
            final = output
        if final is None or not final.finished or len(final.outputs) != 1:
            raise EngineError(f"engine {self._name} ended a request without its one answer")
        return final

    async def _read(self, row: tuple[int, ...]) -> tuple[float, ...]:
        output = await self._generate(row, max_tokens=1, temperature=0.0, prompt_logprobs=0)
        scores = zip(row[1:], output.prompt_logprobs[1:], strict=True)
        return tuple(logprobs[token].logprob for token, logprobs in scores)

    async def _read_answer(self, row: tuple[int, ...], request: Request, digest: str) -> Reply:
        """How likely an answer is, as far as the context reaches."""
        chat = chat_of(self._tokenizer, self._ends)
        tokens = chat.answer_ids(request.messages, request.read or "", request.sampling.chat_template_kwargs)
        tokens = tokens[: self._context() - len(row) - 1]
        scores = (await self._read(row + tokens))[len(row) - 1 :]
        return Reply(
            text="",
            num_tokens=len(tokens),
            num_prompt_tokens=len(row),
            weights=digest,
            logprob=sum(scores),
        )

    async def _draw(self, row: tuple[int, ...], seed: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
        output = await self._generate(
            row, max_tokens=proof.SAMPLED_TOKENS, temperature=1.0, seed=seed, logprobs=0, ignore_eos=True
        )
        (answer,) = output.outputs
        tokens = tuple(answer.token_ids)
        scores = zip(tokens, answer.logprobs, strict=True)
        return tokens, tuple(logprobs[token].logprob for token, logprobs in scores)

    def _context(self) -> int:
        return int(self._engine.model_config.max_model_len)

    async def _watch_core(self) -> None:
        while not self._engine.errored:
            await asyncio.sleep(PULSE_S)
        last_words(f"engine {self._name}: its core died, so it ends")
        os._exit(CORE_DIED)
