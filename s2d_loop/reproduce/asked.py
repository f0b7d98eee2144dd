"""How rows ask, where that differs from how their task's distillation asks.

Evaluation is not distillation: the paper's #Tokens say that its rows make one rephrasing and one answer, one plan an
order, one chain of thought.  Eight, 8 x 8 and twenty samples are for making targets.
"""

from s2d_loop.reproduce.table import START, Distillation, Row

ONCE = ("method.options={}",)
"""The program with its own defaults: 2-step RaR answers its rephrasing once, not eight times."""
ONE_STEP = ("method.name=rar_1step", *ONCE)
SHOTS = "{examples: $EXAMPLES, num_shots: 8}"
OF_SYSTEM_1 = Distillation("distill-system-1", ("distill=system1", "method.samples=$VOTES"))
"""The baseline votes over as many answers as System 2's distillation, each of them a direct one."""

# What public models with a thinking mode are sampled with, and room for thoughts.
_THINKING = (
    "method.name=think",
    *ONCE,
    "method.steps={}",
    "method.sampling={temperature: 0.6, top_p: 0.95, max_tokens: 4096, "
    "chat_template_kwargs: {enable_thinking: true}}",
)
DISTILL_THINKING = Distillation("distill-thinking", _THINKING, thinking=True)
THINKING_ROWS = (
    Row("System 2", "Thinking mode (not the paper's)", START, "system2", {}, _THINKING, thinking=True),
    Row(
        "Distill System 2",
        "Distill thinking mode (not the paper's)",
        DISTILL_THINKING.name,
        "system1",
        thinking=True,
    ),
)
"""For a model that has such a mode: its own thoughts in the place of a program."""
