"""The link to the source, and the versions of the software."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import requires

import pytest

from geo_platform.catalog.item import to_document
from geo_platform.catalog.provenance import Provenance, software_versions
from geo_platform.catalog.vector_item import build_vector_item
from geo_platform.contracts.arrival import SourceKind
from geo_platform.contracts.vector import FeaturesLoaded
from geo_platform.options import ItemOptions

NOW = datetime(2026, 11, 23, 18, tzinfo=UTC)
PROVENANCE = Provenance(
    run_id="run-1", fingerprint="f" * 32, published_at_utc=NOW, created_utc=NOW, software={}
)


def test_the_source_is_linked_as_via(make_features: Callable[..., FeaturesLoaded]) -> None:
    """STAC keeps `derived_from` for items; a source file is `via` (RFC 4287)."""
    loaded = make_features()
    links = to_document(build_vector_item(loaded, ItemOptions(), PROVENANCE))["links"]
    assert [(link["href"], link["type"]) for link in links if link["rel"] == "via"] == [
        (loaded.source.uri, loaded.source.media_type)
    ]
    assert not [link for link in links if link["rel"] == "derived_from"]


@pytest.mark.parametrize("kind", SourceKind)
def test_the_recorded_software_is_among_the_dependencies(kind: SourceKind) -> None:
    declared = {re.split(r"[^A-Za-z0-9._-]", text)[0] for text in requires("geo-platform") or []}
    assert set(software_versions(kind)) <= declared | {"geo-platform", "gdal"}
