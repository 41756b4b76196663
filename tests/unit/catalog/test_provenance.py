"""Where a result came from: the link to its source and the software that made it."""

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


def test_the_source_is_linked_as_what_it_is(make_features: Callable[..., FeaturesLoaded]) -> None:
    """STAC keeps `derived_from` for items; a file that is none is `via` (RFC 4287: the source of the information)."""
    loaded = make_features()
    links = to_document(build_vector_item(loaded, ItemOptions(), PROVENANCE))["links"]
    assert [(link["href"], link["type"]) for link in links if link["rel"] == "via"] == [
        (loaded.source.uri, loaded.source.media_type)
    ]
    assert not [link for link in links if link["rel"] == "derived_from"]


@pytest.mark.parametrize("kind", SourceKind)
def test_the_software_is_what_the_platform_depends_on(kind: SourceKind) -> None:
    declared = {re.split(r"[^A-Za-z0-9._-]", text)[0] for text in requires("geo-platform") or []}
    assert set(software_versions(kind)) <= declared | {"geo-platform", "gdal"}
