"""`geo-platform plan SOURCE...`: what would be done and why; nothing is written."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from geo_platform.catalog.naming import item_place
from geo_platform.chains import CHAINS, ChainOptions
from geo_platform.cli.application import Application
from geo_platform.cli.outcome import (
    as_platform_error,
    exit_code,
    outcome_of,
    printable,
    show_left_out,
)
from geo_platform.cli.parameters import given, options_of, stage_options
from geo_platform.cli.requests import SourceRequest, requests_of
from geo_platform.cli.sources import find_sources
from geo_platform.contracts.arrival import ObjectArrived, SourceKind
from geo_platform.options import ArrivalOptions, ItemOptions
from geo_platform.ports import BRONZE
from geo_platform.raster.options import RasterCogOptions, RasterProfileOptions
from geo_platform.raster.plan import plan_cogs
from geo_platform.raster.profile import profile_object as profile_raster_object
from geo_platform.source.arrival import receive
from geo_platform.storage.local.source_files import LocalFiles
from geo_platform.vector.options import LoadMode, VectorFeaturesOptions, VectorProfileOptions
from geo_platform.vector.plan import plan_features
from geo_platform.vector.profile import profile_object as profile_vector_object

Plan = dict[str, Any]


@click.command("plan")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--json", "as_json", is_flag=True, help="One JSON document per source, a line each.")
@stage_options
@click.pass_obj
def plan_sources(
    application: Application, /, sources: tuple[str, ...], as_json: bool, **values: Any
) -> None:
    """Show what would be done with files, and why. Nothing is written.

    Takes the same parameters as `ingest`, so that their effect can be seen before anything is done.
    """
    candidates, left = find_sources(sources, home=application.settings.home_dir)
    show_left_out(Console(stderr=True, highlight=False), candidates, left)
    console = Console(highlight=False)
    faults = []
    for request in requests_of(candidates, given(values)):
        try:
            plan = _plan(request)
        except click.ClickException:
            raise
        except Exception as error:  # noqa: BLE001  # one source's fault must not stop the others; it is that source's answer
            record = as_platform_error(error).as_record()
            faults.append(outcome_of(record))
            plan = {
                "source": request.candidate.shown,
                "outcome": outcome_of(record).value,
                "error": record,
            }
        if as_json:
            click.echo(json.dumps(plan, default=str))
        else:
            _show(console, plan)
    sys.exit(exit_code(faults))


def _plan(request: SourceRequest) -> Plan:
    kind = request.known_kind()
    options = options_of(CHAINS[kind], request.parameters)
    view = LocalFiles()
    arrived = receive(
        view, BRONZE, request.candidate.key, options.of(ArrivalOptions), expected=kind
    )
    planned = _plan_raster if kind is SourceKind.raster else _plan_vector
    with tempfile.TemporaryDirectory(prefix="geo-platform-plan-") as scratch:
        found, steps = planned(arrived, options, view, Path(scratch))
    is_append = (
        kind is SourceKind.vector and options.of(VectorFeaturesOptions).mode is LoadMode.append
    )
    collection, item_id = item_place(
        arrived, options.of(ItemOptions), dataset=steps[0]["dataset"] if is_append else None
    )
    found["item"] = f"{collection}/{item_id}"
    return {
        "source": request.candidate.shown,
        "kind": kind.value,
        "format": arrived.format.value,
        "found": found,
        "plan": steps,
    }


def _plan_raster(
    arrived: ObjectArrived, options: ChainOptions, view: LocalFiles, scratch: Path
) -> tuple[Plan, list[Plan]]:
    profiled = profile_raster_object(
        arrived, options.of(RasterProfileOptions), view, scratch=scratch
    )
    plans = plan_cogs(profiled, options.of(RasterCogOptions))
    found = profiled.model_dump(
        mode="json",
        include={"driver", "shape", "raster_type", "raster_type_reason", "bit_depth", "warnings"},
    )
    found["crs"] = profiled.crs.authority_code or profiled.crs.wkt
    steps: list[Plan] = [
        plan.model_dump(mode="json", exclude={"bands", "crs"}) for plan in plans.plans
    ]
    return found, steps + [{"reasons": [refusal.message]} for refusal in plans.refused_tiers]


def _plan_vector(
    arrived: ObjectArrived, options: ChainOptions, view: LocalFiles, scratch: Path
) -> tuple[Plan, list[Plan]]:
    profiled = profile_vector_object(
        arrived, options.of(VectorProfileOptions), view, scratch=scratch
    )
    plan = plan_features(profiled, options.of(VectorFeaturesOptions))
    found = profiled.model_dump(
        mode="json",
        include={"driver", "layer", "geometry_types", "feature_count", "encoding", "warnings"},
    )
    found["crs"] = profiled.crs.authority_code or profiled.crs.wkt
    step: Plan = {
        "dataset": plan.dataset,
        "geometry_type": plan.geometry_type,
        "dimension": plan.dimension,
        "crs": plan.crs.authority_code or plan.crs.wkt,
        "was_reprojected": plan.was_reprojected,
        "fields": [field.model_dump(mode="json") for field in plan.fields],
        "reasons": list(plan.reasons),
    }
    return found, [step]


def _show(console: Console, plan: Plan) -> None:
    console.print(Text(printable(plan["source"]), style="bold"), Text(plan.get("format", "")))
    if "error" in plan:
        console.print(
            Text(
                f"  {plan['outcome']}: {plan['error']['code']}: {printable(plan['error']['message'])}",
                style="yellow",
            ),
            soft_wrap=True,
        )
        console.print(
            Text(f"  What to do: {printable(plan['error']['remedy'])}", style="dim"), soft_wrap=True
        )
        return
    for name, value in plan["found"].items():
        console.print(Text(f"  {name:<20} {printable(_plain(value))}"), soft_wrap=True)
    for step in plan["plan"]:
        for reason in step["reasons"]:
            console.print(Text(f"  - {printable(reason)}"), soft_wrap=True)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
