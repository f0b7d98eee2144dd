"""The programs by name, and the check that a configuration's options fit one."""

import inspect
import typing
from collections.abc import Mapping
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from s2d_loop.errors import BadInputError
from s2d_loop.plugins import did_you_mean, resolve
from s2d_loop.system2.base import Program

METHODS: dict[str, str] = {
    "direct": "s2d_loop.system2.direct:direct",
    "rar_1step": "s2d_loop.system2.rar:rar_1step",
    "rar_2step": "s2d_loop.system2.rar:rar_2step",
    "s2a": "s2d_loop.system2.s2a:s2a",
    "bsm": "s2d_loop.system2.bsm:bsm",
    "cot": "s2d_loop.system2.cot:cot",
    "think": "s2d_loop.system2.think:think",
    "cot_few_shot": "s2d_loop.system2.few_shot:cot_few_shot",
    "direct_few_shot": "s2d_loop.system2.few_shot:direct_few_shot",
    "judge_cot": "s2d_loop.system2.judge_cot:judge_cot",
    "self_refine": "s2d_loop.system2.self_refine:self_refine",
    "tree_of_thoughts": "s2d_loop.system2.tree_of_thoughts:tree_of_thoughts",
}


def load_method(name: str, options: Mapping[str, Any] | None = None, key: str = "method") -> Program:
    """The program of a name; with `options`, checked against them too.  `key` is where both are configured."""
    program = resolve("method", name, METHODS)
    if not inspect.iscoroutinefunction(program):
        raise BadInputError(
            f"method {name!r} is not an async function: write `async def name(x, llm, **options)`"
        )
    if options is not None:
        _check_options(name, cast(Program, program), options, key)
    return cast(Program, program)


def _check_options(name: str, program: Program, options: Mapping[str, Any], key: str) -> None:
    first_two, rest, takes_any = _parameters(program)
    if first_two < 2:
        raise BadInputError(f"method {name!r} must take the input and the llm first: `(x, llm, ...)`")
    for option in options:
        if option not in rest and not takes_any:
            raise BadInputError(
                f"{key}.options.{option}: {name!r} has no such option{did_you_mean(option, rest)} "
                f"(it has: {', '.join(rest) or 'none'})"
            )
    for option, parameter in rest.items():
        if parameter.default is parameter.empty and option not in options:
            raise BadInputError(f"{key}.options.{option}: {name!r} needs it")
    hints = _hints(program)
    for option in options.keys() & rest.keys() & hints.keys():
        try:
            TypeAdapter(hints[option]).validate_python(options[option], strict=True)
        except ValidationError as error:
            problem = error.errors()[0]["msg"]
            raise BadInputError(
                f"{key}.options.{option}: {options[option]!r} doesn't fit {name!r}: {problem}"
            ) from error


def _parameters(program: Program) -> tuple[int, dict[str, inspect.Parameter], bool]:
    """How many of the two fixed parameters it takes, its options by name, and whether any name goes."""
    parameters = list(inspect.signature(program).parameters.values())
    fixed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][:2]
    rest = [p for p in parameters[len(fixed) :] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    return len(fixed), {p.name: p for p in rest}, takes_any


def _hints(program: Program) -> dict[str, Any]:
    try:
        return typing.get_type_hints(program, include_extras=True)
    except NameError:  # annotations that only a type checker imports: names are checked, types aren't
        return {}
