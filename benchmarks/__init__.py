"""Benchmarks of this platform against its alternatives. `make bench` writes RESULTS.md."""
