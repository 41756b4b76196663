"""The command `geo-platform tiles`: draw and keep the vector tiles of low zooms of an item.

The sensor `large_vector_items` requests the same runs where a daemon runs. A module of its own, as
each command has one.

Called by `cli/main.py`.
"""

import click

from geo_platform.cli.application import Application
from geo_platform.cli.commands.undo import find_item, print_result_and_exit
from geo_platform.errors import SourceNotFound
from geo_platform.runs import RunRequest

_JOB, _PARTITIONS = "draw_vector_tiles", "vector_items"


@click.command("tiles")
@click.argument("item", metavar="ITEM")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def tiles(application: Application, item: str, as_json: bool) -> None:
    """Draw the vector tiles of low zooms of a large item once, and keep them.

    Readers then get these tiles at once. Without them a tile of a low zoom is drawn when it is
    asked for, which takes a second or more for hundreds of thousands of rows. `geo-platform dev`
    and deployments do this by themselves after a large item is published.

    ITEM is the id of the item, or collection/id if several collections have that id.
    """
    collection, item_id = find_item(application, item, also_kept=False)
    if application.catalog.item(collection, item_id) is None:
        raise SourceNotFound(
            f"No item {collection}/{item_id} is published.",
            remedy="`geo-platform list` shows the published items.",
        )
    place = f"{collection}/{item_id}"
    with application.launcher() as launcher:
        report = launcher.run(RunRequest(job=_JOB, partition=place, partitions_name=_PARTITIONS))
    result = report.result or {}
    number = int(result.get("tiles", 0))
    kept = (
        f"{number:,} tiles of {place} are kept."
        if number
        else f"{place} needs no kept tiles: each is drawn fast enough when it is asked for."
    )
    print_result_and_exit(
        report,
        {"outcome": "drawn", "item": place, "tiles": number},
        kept,
        as_json=as_json,
    )
