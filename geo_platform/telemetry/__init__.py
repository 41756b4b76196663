"""One run id on all that a run says: its log lines, its checkpoints, its spans.

Imports no store and no orchestrator.
"""
