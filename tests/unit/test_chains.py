"""The stages of each chain fit together, and each source has its chain."""

import pytest

from geo_platform.chains.chain import AnyStage, Chain, StageStores
from geo_platform.chains.hello import HELLO_STAGES
from geo_platform.chains.raster import RASTER
from geo_platform.chains.registry import (
    CHAINS,
    FALLBACK_CHAIN,
    chain_by_name,
    chain_for,
    chain_of_job,
    chain_of_stage,
)
from geo_platform.chains.vector import VECTOR
from geo_platform.contracts.arrival import ObjectArrived, SourceFormat
from geo_platform.contracts.publication import ItemPublished
from geo_platform.options import ArrivalOptions, ItemOptions
from geo_platform.source.formats import FORMATS
from geo_platform.source.sniff import DetectedSource

EACH = pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: chain.name)


@pytest.mark.parametrize(
    "stages",
    [*(chain.stages for chain in CHAINS), HELLO_STAGES],
    ids=[*(chain.name for chain in CHAINS), "hello"],
)
def test_each_stage_takes_the_message_of_the_one_before(stages: tuple[AnyStage, ...]) -> None:
    assert [stage.takes for stage in stages] == [None, *(stage.gives for stage in stages[:-1])]


@EACH
def test_a_chain_starts_with_an_arrival_and_ends_with_an_item(chain: Chain) -> None:
    assert chain.first.gives is ObjectArrived
    assert issubclass(chain.first.options, ArrivalOptions)
    assert chain.last.gives is ItemPublished
    assert issubclass(chain.last.options, ItemOptions)


def test_no_two_chains_share_a_name() -> None:
    for names in (
        [chain.name for chain in CHAINS],
        [chain.job for chain in CHAINS],
        [chain.partitions_name for chain in CHAINS],
        [name for chain in CHAINS for name in chain.stage_names],
        [check.name for chain in CHAINS for stage in chain.stages for check in stage.checks],
    ):
        assert len(set(names)) == len(names)


@EACH
def test_a_check_reads_only_messages_of_earlier_stages(chain: Chain) -> None:
    for number, stage in enumerate(chain.stages):
        for check in stage.checks:
            assert set(check.also_reads) <= set(chain.stages[:number])


@pytest.mark.parametrize("source_format", SourceFormat)
def test_each_format_has_a_chain(source_format: SourceFormat) -> None:
    rule = FORMATS[source_format]
    chain = chain_for(DetectedSource(source_format, rule.kind, rule.media_type))
    assert chain.kind is rule.kind


@pytest.mark.parametrize(
    ("key", "chain"),
    [("a/b.TIF", RASTER), ("a.gpkg", VECTOR), ("a.zip", FALLBACK_CHAIN), ("a", FALLBACK_CHAIN)],
)
def test_the_extension_of_a_name_gives_its_chain(key: str, chain: Chain) -> None:
    assert chain_by_name(key) is chain


def test_an_unknown_name_has_no_chain_or_is_an_error() -> None:
    assert chain_of_job("remove_replaced") is None
    assert chain_of_job(RASTER.job) is RASTER
    assert chain_of_stage(VECTOR.last.name) is VECTOR
    with pytest.raises(KeyError, match="no chain"):
        chain_of_stage("raw_tables")
    with pytest.raises(KeyError, match="no stage"):
        RASTER.stage(VECTOR.last.name)


def test_a_stage_without_its_store_names_the_store() -> None:
    with pytest.raises(TypeError, match="raw_raster was called without its object store"):
        RASTER.first.run(None, ArrivalOptions(), StageStores(), key="a.tif")
