"""A deterministic simulation of whole runs; `benchmarks.simulate` is its command (docs/simulation.md)."""
