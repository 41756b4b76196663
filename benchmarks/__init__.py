"""Benchmarks that run the alternative next to this platform and report the ratio. `make bench`
writes RESULTS.md.
"""
