"""What the map page knows of the jobs, without a browser."""

import re

from geo_platform.chains.raster import RASTER
from geo_platform.chains.vector import VECTOR
from tests.support.command import ROOT


def test_the_parameters_that_the_page_offers_are_those_of_the_jobs() -> None:
    source = (ROOT / "geo_platform/web/page/src/bring.ts").read_text("utf-8")
    offered = source.partition("const PARAMETERS")[2].partition("};")[0]
    for chain in (RASTER, VECTOR):
        names = re.findall(r'"(\w+)"', offered.partition(f"{chain.name}: [")[2].partition("]")[0])
        assert names
        assert set(names) <= chain.parameters
