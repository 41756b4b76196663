"""The items and collections of real files, field by field.

Each file in `published/` holds the message that the chain stored for a real file, the options, the
item that was published before (for an append), and the documents made of them. Hosts, folders and
run ids are replaced. A change to a published document has to be made there by hand.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from geo_platform.catalog.item import build_collection, to_document
from geo_platform.catalog.provenance import Provenance
from geo_platform.catalog.raster_item import build_raster_item
from geo_platform.catalog.validate import collection_faults, item_faults
from geo_platform.catalog.vector_item import build_vector_item
from geo_platform.contracts.raster import CogStored
from geo_platform.contracts.stored import load_message
from geo_platform.contracts.vector import FeaturesLoaded
from geo_platform.options import ItemOptions

CASES = sorted((Path(__file__).parent / "published").glob("*.json"))


def documents(case: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The item and the collection that the code builds for a case."""
    options = ItemOptions(**case["options"])
    provenance = Provenance(
        run_id="5f1e9f4e-0000-4000-8000-000000000001",
        fingerprint="f" * 32,
        published_at_utc=datetime(2026, 11, 23, 18, 0, 0, 250000, tzinfo=UTC),
        created_utc=datetime(2026, 11, 22, 18, tzinfo=UTC),
        software={"gdal": "3.12.1", "geo-platform": "0.1.0"},
        before=case["before"],
    )
    # Messages of older versions are upgraded, as those in a store are.
    content = json.dumps(case["message"]).encode()
    if case["message"]["message"] == "CogStored":
        item = build_raster_item(load_message(content, CogStored), options, provenance)
    else:
        item = build_vector_item(load_message(content, FeaturesLoaded), options, provenance)
    return to_document(item), to_document(build_collection(item))


def exactly(document: dict[str, Any]) -> str:
    """JSON in one order of keys: unlike `==` it tells 1 from 1.0."""
    return json.dumps(document, sort_keys=True, indent=1, allow_nan=False)


@pytest.mark.parametrize("path", CASES, ids=[path.stem for path in CASES])
def test_documents_are_as_they_were_published(path: Path) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    item, collection = documents(case)
    assert exactly(item) == exactly(case["item"])
    assert exactly(collection) == exactly(case["collection"])
    assert item_faults(item) == collection_faults(collection) == ()
