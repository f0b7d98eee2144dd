"""The paper's tables, run again: what each row is, how to measure it, and the two side by side."""
