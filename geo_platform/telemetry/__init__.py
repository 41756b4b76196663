"""Log lines, checkpoints and spans that all carry the id of their run.

Imports no store and no orchestrator.
"""
