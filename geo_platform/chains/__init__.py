"""The chains. Each is described once: stages, options, core calls, checks, job and partitions.

`registry.py` lists them and answers look-ups. Everything else (assets, jobs, sensors, the command
line, HTTP bodies, state checks) derives from it. How to add one:
docs/decisions/0030-a-chain-is-described-once.md.
"""
