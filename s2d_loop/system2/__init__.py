"""System 2 programs: one file each, their prompts beside them as text files.

A program is an async function `(x, llm, **options) -> output` (see `base.py`).  `generate` runs it
and owns sampling, seeds, retries and traces, so a program is only the method's own steps.
"""
