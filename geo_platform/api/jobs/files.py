"""The result of a job and the outcome of each of its files, from the results of its stages. Pure.

The state of the whole job: `state.py`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from geo_platform.api.dagster.graphql import Materialized, RunFound
from geo_platform.api.jobs.types import FILES, STAGES
from geo_platform.chains.hello import SPEAK
from geo_platform.chains.registry import CHAINS, last_stages
from geo_platform.chains.vector import FEATURES
from geo_platform.contracts.submission import JobSubmitted

_LAST_OF_CHAIN = last_stages()
_ENDED = ("SUCCESS", "FAILURE", "CANCELED")


def result_of(made: Sequence[Materialized]) -> dict[str, Any]:
    """Return what was published from one source, and where. For the smoke test, return its text."""
    result: dict[str, Any] = {}
    for one in made:
        shown = one.metadata
        if one.stage in _LAST_OF_CHAIN:
            named = (
                "collection",
                "item_id",
                "published_at_utc",
                "published_by_run",
                "was_unchanged",
            )
            result |= {
                "item": shown.get("item"),
                "outputs": shown.get("outputs", []),
                **{name: shown.get(name) for name in named},
            }
        elif one.stage == FEATURES.name:
            result |= {
                "dataset": shown.get("dataset"),
                "table": shown.get("dagster/table_name"),
                "rows": _rows_of(one),
            }
            result["reject_reasons"] = shown.get("reject_reasons", {})
        elif one.stage == SPEAK.name:
            result["text"] = shown.get("text")
    return result


def rejected_rows(made: Sequence[Materialized]) -> int:
    """Return the number of rows that could not be published. The result has the reasons."""
    return sum(_rows_of(one).get("rejected", 0) for one in made)


def is_appended(job: JobSubmitted, made: Mapping[str, Any]) -> bool:
    """Return whether the rows of a result were appended to a dataset.

    A later publication of that dataset keeps them.
    """
    options = json.loads(job.options_json)
    own = next(
        (file["parameters"] for file in _files_of_job(job) if file["key"] == made.get("file_name")),
        options.get(FEATURES.name, {}),
    )
    return bool(own.get("load_mode") == "append")


def waiting_files(job: JobSubmitted) -> tuple[Mapping[str, Any], ...]:
    """Return the files of a job without a run yet; none for a job over one source."""
    return tuple(
        {"file_name": file["key"], "status": "queued", "data_type": None}
        for file in _files_of_job(job)
    )


def files_of(
    job: JobSubmitted,
    run: RunFound,
    error: Mapping[str, Any] | None,
    refused: Sequence[Mapping[str, Any]],
) -> tuple[Mapping[str, Any], ...]:
    """Return each file's status with its result, or with its error.

    The error is the file's own in `refused`, else that of the run.
    """
    reasons = {
        each["key"]: {name: each.get(name) for name in ("code", "message", "remedy")}
        for each in refused
    }
    return tuple(
        _file(file["key"], run, reasons.get(file["key"], error)) for file in _files_of_job(job)
    )


def _file(key: str, run: RunFound, error: Mapping[str, Any] | None) -> Mapping[str, Any]:
    made = [one for one in run.made if one.partition == key]
    stages = {one.stage for one in made}
    chain = next((chain for chain in CHAINS if stages.intersection(chain.stage_names)), None)
    found: dict[str, Any] = {"file_name": key, "data_type": chain.name if chain else None}
    if any(one.stage in _LAST_OF_CHAIN for one in made):
        status = "completed_with_errors" if rejected_rows(made) else "completed"
        return {**found, "status": status, "run_id": run.run_id, **result_of(made)}
    if run.status in _ENDED and error is not None:
        return {
            **found,
            "status": "failed",
            "error": {name: error.get(name) for name in ("code", "message", "remedy")},
        }
    return {**found, "status": "processing" if run.started_at_utc is not None else "queued"}


def _files_of_job(job: JobSubmitted) -> Sequence[Mapping[str, Any]]:
    """Return the files of a job over several files; none for any other job."""
    files: Sequence[Mapping[str, Any]] = (
        json.loads(job.options_json)[STAGES[FILES][0]]["files"] if job.job_type == FILES else ()
    )
    return files


def _rows_of(one: Materialized) -> dict[str, int]:
    """Return the counts read, inserted, rejected and repaired; empty if no rows were loaded."""
    shown = one.metadata.get("rows") if one.stage == FEATURES.name else None
    return {str(row["rows"]): int(row["count"]) for row in shown} if isinstance(shown, list) else {}
