"""What a System 2 program is: `async def program(x: Input, llm: LLM, **options) -> Output`.

`generate` calls it once for every sample, with an `llm` that is bound to that input and sample.
"""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from s2d_loop.records import Messages, Reply, Sample


class LLM(Protocol):
    """The only way a program reaches the model.

    A plain string is one user turn; `x.ask(text)` keeps the input's earlier turns.  `step` names the
    call in traces and picks its sampling from the method's `steps`.  Calls of one program that share a
    step must differ in `index`, or they are the same call with the same seed and so the same reply.
    A `shared` call depends on nothing that a perturbation changes: the input's twins are given its reply.
    """

    async def __call__(
        self, prompt: str | Messages, *, step: str, index: int = 0, shared: bool = False
    ) -> Reply: ...


Output = Reply | str | Sequence[Reply | str]
"""One final answer or several.  A `Reply` says whether it was cut off; a `str` counts as whole."""

Program = Callable[..., Coroutine[Any, Any, Output]]


def as_samples(output: Output) -> tuple[Sample, ...]:
    """A program's output as the samples that are voted on."""
    if isinstance(output, Reply):
        return (Sample(output.text, output.finished, output.token_ids),)
    if isinstance(output, str):
        return (Sample(output, finished=True),)
    if isinstance(output, Sequence) and all(isinstance(item, Reply | str) for item in output):
        return tuple(sample for item in output for sample in as_samples(item))
    raise TypeError(
        f"the program returned {type(output).__name__}: it must return a Reply, a str, or a list of those"
    )
