"""One file a question, each against a baseline in the same run: `python -m benchmarks.NAME`."""
