"""Benchmarks: the measurements behind docs/performance.md, docs/reliability.md and docs/results.md."""
