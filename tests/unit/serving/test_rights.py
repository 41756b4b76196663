"""Which published items a caller may read."""

import pytest

from geo_platform.serving.rights import Rights


def item(*, container: str = "bronze", dataset: str | None = None) -> dict[str, object]:
    properties: dict[str, object] = {"geo_platform:source_container": container}
    if dataset is not None:
        properties["geo_platform:dataset"] = dataset
    return {"id": "dem", "collection": "rasters", "properties": properties}


@pytest.mark.parametrize(
    ("rights", "document", "is_allowed"),
    [
        (Rights(), item(), True),
        (Rights(containers=("bronze",)), item(), True),
        (Rights(containers=("team-*",)), item(), False),
        (Rights(containers=("team-*",)), item(container="team-a"), True),
        (Rights(datasets=("dem",)), item(), True),
        (Rights(datasets=("dem",)), item(dataset="roads"), False),
        (Rights(datasets=("road[st]",)), item(dataset="roads"), True),
        (Rights(collections=("rasters",)), item(), True),
        (Rights(collections=("RASTERS",)), item(), False),
        (Rights(containers=("bronze",), collections=("vectors",)), item(), False),
    ],
)
def test_every_allow_list_must_match(
    rights: Rights, document: dict[str, object], is_allowed: bool
) -> None:
    assert rights.allows(document) is is_allowed


def test_an_item_without_a_source_container_needs_rights_without_containers() -> None:
    foreign = {"id": "dem", "collection": "rasters", "properties": {}}
    assert Rights().allows(foreign)
    assert not Rights(containers=("bronze",)).allows(foreign)
