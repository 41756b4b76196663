"""Read the sentences of a run's engine events: only tests and people read them."""

import dagster as dg


def engine_messages(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """Return the texts of the engine events of a run, oldest first."""
    entries = instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    return [entry.dagster_event.message or "" for entry in entries if entry.dagster_event]
