"""Use the chain of tables everywhere a chain is used, in a copy of the project that has it.

    python -m tests.support.table_chain.drive lock|commands|api FOLDER

Run with the copy as the working directory and first on the import path. Prints one JSON document.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner

ROWS = "station,depth,height\na,1,2.5\nb,,3\nc,7,4.25\n"
NO_ROWS = "station,depth,height\n"
POINT = {"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [4, 50]}}


class Commands:
    """`geo-platform …` in this process, on one home."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def __call__(self, *arguments: str | Path, with_json: bool = True) -> Any:
        from geo_platform.cli.main import main

        words = ["--home", str(self._home), *map(str, arguments), *(["--json"] * with_json)]
        ended = CliRunner().invoke(main, words)
        if ended.exception is not None and not isinstance(ended.exception, SystemExit):
            raise ended.exception
        answers = [json.loads(line) for line in ended.stdout.splitlines()] if with_json else []
        return {"exit_code": ended.exit_code, "answers": answers, "output": ended.output[-2000:]}


def use_commands(folder: Path) -> dict[str, Any]:
    """Use contracts, definitions, ingest, plan, retry, trace, a watch, a shared run and doctor."""
    give = Commands(folder / "home")
    found: dict[str, Any] = {"contracts": give("contracts", "check", with_json=False)}

    from geo_platform.definitions import defs

    found["definitions"] = {
        "job": sorted(node.name for node in defs.resolve_job_def("ingest_table").nodes),
        "checks": sorted(
            spec.name
            for check in defs.asset_checks or ()
            for spec in check.check_specs
            if spec.asset_key.to_user_string().startswith("table_")
        ),
    }
    table = folder / "stations.csv"
    table.write_text(ROWS, "utf-8")
    found["plan"] = give("plan", table)
    found["ingest"] = give("ingest", table, "--table-compression", "snappy")
    found["again"] = give("ingest", table, "--table-compression", "snappy")
    found["by job"] = give("ingest", table, "--job", "ingest_vector")
    found["trace"] = give("trace", found["ingest"]["answers"][0]["run_id"])
    found["retry"] = retried(give, folder)
    with watched(folder) as watch:
        found["watch"] = watch
    ghost(folder)
    found["doctor"] = give("doctor")
    return found


def retried(give: Commands, folder: Path) -> dict[str, Any]:
    """Retry the run of a refused table (no rows) after the table is repaired."""
    from geo_platform.ports import BRONZE
    from geo_platform.settings import Settings
    from geo_platform.storage.local.source_files import local_key, resolved_path
    from geo_platform.storage.stores import open_objects

    empty = folder / "empty.csv"
    empty.write_text(NO_ROWS, "utf-8")
    refused = give("ingest", empty)
    objects = open_objects(Settings(home=folder / "home"))
    objects.put_bytes(BRONZE, local_key(resolved_path(empty)), ROWS.encode(), metadata={})
    return {"refused": refused, "retry": give("retry", refused["answers"][0]["run_id"])}


@contextmanager
def watched(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield what a watch requests: one run for a large file, a shared run for small files."""
    import os

    from geo_platform.arrivals.arrival import arrival_of
    from geo_platform.arrivals.watch import Watch
    from geo_platform.cli.application import Application
    from geo_platform.orchestrator.run_requests import plan_launches
    from geo_platform.ports import BRONZE
    from geo_platform.runs import RunRequest
    from geo_platform.settings import Settings
    from geo_platform.storage.stores import open_catalog, open_objects

    os.environ["GEO_PLATFORM_HOME"] = str(folder / "home")
    settings = Settings(home=folder / "home")
    objects = open_objects(settings)
    watch = Watch(name="tables", parameters={"table_compression": "snappy"}, small_bytes=200)
    large = ROWS + "".join(f"s{number},{number},0.5\n" for number in range(100))
    content = {
        "in/large.csv": large.encode(),
        "in/one.csv": ROWS.encode(),
        "in/two.csv": NO_ROWS.encode(),
        "in/points.geojson": json.dumps(POINT).encode(),
    }
    put = [objects.put_bytes(BRONZE, key, text, metadata={}) for key, text in content.items()]
    with Application(settings).launcher() as launcher:
        instance = launcher.launcher._instance  # type: ignore[attr-defined]
        plan = plan_launches(instance, objects, watch, [arrival_of(stored) for stored in put])
        requests = {request.job_name: request for request in plan.requests}
        config = {name: request.run_config["ops"] for name, request in requests.items()}
        shared = launcher.run(
            RunRequest(
                "ingest_files",
                None,
                None,
                {op: one["config"] for op, one in config["ingest_files"].items()},
            )
        )
        alone = launcher.run(
            RunRequest(
                "ingest_table",
                "in/large.csv",
                "table_objects",
                {stage: one["config"] for stage, one in config["ingest_table"].items()},
            )
        )
    items = {f"{entry.collection}/{entry.item_id}" for entry in open_catalog(settings).entries()}
    yield {
        "jobs": sorted(requests),
        "partitions": dict(plan.partitions),
        "rows config": config["ingest_table"]["table_rows"]["config"],
        "alone": [alone.status, alone.error],
        "shared": [shared.status, shared.error and shared.error["message"]],
        "shared run": shared.run_id,
        "items": sorted(items),
    }


def ghost(folder: Path) -> None:
    """Add a partition of the chain that no run has made."""
    from geo_platform.cli.application import Application
    from geo_platform.settings import Settings

    with Application(Settings(home=folder / "home")).launcher() as launcher:
        launcher.launcher._instance.add_dynamic_partitions("table_objects", ["ghost.csv"])  # type: ignore[attr-defined]


def lock(folder: Path) -> dict[str, Any]:
    """Lock the chain's messages, as for each new message."""
    return dict(Commands(folder)("contracts", "lock", with_json=False))


def use_api(folder: Path) -> dict[str, Any]:
    """Submit a job by its route and wait for its end."""
    from geo_platform.settings import Profile
    from tests.support.api_stack import api_stack
    from tests.support.production import ProfileUnderTest

    profile = ProfileUnderTest(Profile.embedded, {"PYTHONPATH": str(Path.cwd())})
    with api_stack(folder, profile) as stack:
        stack.put("in/stations.csv", ROWS.encode())
        body = {"blob_name": "in/stations.csv", "table_compression": "snappy"}
        refused = stack.ask("POST", "/api/jobs/submit/ingest_table", json={**body, "lat_name": "x"})
        submitted = stack.legacy().submit("ingest_table", **body)
        job_id = submitted["job_id"]

        def ended() -> Any:
            status = stack.legacy().status(job_id)
            return status if status["status"] in ("completed", "failed") else None

        status = stack.wait(ended, patience_s=150)
        document = stack.ask("GET", "/openapi.json").json()
        listed = stack.ask("GET", "/api/jobs?type=ingest_table").json()
        return {
            "refused": [refused.status_code, refused.json()],
            "status": status,
            "routes": sorted(path for path in document["paths"] if "/submit/" in path),
            "body": sorted(document["components"]["schemas"]["TableParameters"]["properties"]),
            "listed": len(listed["jobs"]),
        }


if __name__ == "__main__":
    what, where = sys.argv[1], Path(sys.argv[2])
    where.mkdir(parents=True, exist_ok=True)
    found = {"lock": lock, "commands": use_commands, "api": use_api}[what](where)
    sys.stdout.write(json.dumps(found, default=str))
