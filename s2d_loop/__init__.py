"""Distil a model's System 2 answers into its System 1, without labels, again and again."""

__version__ = "0.1.0"
