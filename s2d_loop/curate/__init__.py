"""Unsupervised curation (section 3.2): which of System 2's answers are worth learning from.

Pure functions of what `generate` committed: another threshold is a rerun of seconds, without a model.
"""
