"""Benchmarks: each measures us and a limit side by side in one run, and prints the ratio.

A file `b<n>_<what>.py` per row of the goals has `run(bench) -> Iterator[Result]`.
"""
