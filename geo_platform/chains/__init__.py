"""The chains. A chain is the stages of one job, from the arrived source to the published item.

Each chain is described once, in a module of its own: stages, options, core calls, checks, job and
partitions. Assets, jobs, sensors, the command line, HTTP bodies and state checks derive from this
description. `registry.py` lists the chains and looks them up. How to add a chain:
docs/decisions/0030-a-chain-is-described-once.md.
"""
