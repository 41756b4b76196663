"""What a profile says beside its figures: findings that refuse nothing.

What belongs here: the list of docs/raster.md, "Findings". What stays out: refusals.
"""

from rasterio.io import DatasetReader

from geo_platform.contracts.message import Finding
from geo_platform.contracts.raster import GeoreferenceNote, RasterBand
from geo_platform.raster.metadata import has_band_tags, other_domains


def profile_findings(dataset: DatasetReader, georeference: GeoreferenceNote, bands: tuple[RasterBand, ...]) -> tuple[Finding, ...]:
    """In the order that a person would ask: place, bands, what is left behind."""
    return tuple(
        Finding(code=code, message=message)
        for code, is_so, message in (
            ("ROTATED", georeference.is_rotated, "The grid is rotated or sheared; it is kept so unless target_crs is given."),
            ("SOUTH_UP", georeference.is_south_up and not georeference.is_rotated, "The first row is the southernmost; it is kept so."),
            (
                "PLACED_BY_POINTS",
                georeference.placed_by_ground_control_points,
                f"Placed by {georeference.ground_control_points} ground control points alone; converting warps it to a regular grid.",
            ),
            ("RPCS_NOT_USED", georeference.has_rpcs, "Rational polynomial coefficients are present and not used."),
            ("MIXED_DTYPES", len({band.dtype for band in bands}) > 1, "Bands differ in data type; the COG has the widest for all."),
            (
                "MIN_IS_WHITE",
                dataset.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES",
                "0 means white in this file; the values are kept, and whoever takes 0 for black sees a negative.",
            ),
            ("SUBDATASETS", bool(dataset.subdatasets), f"{len(dataset.subdatasets)} images in one file; the first is used."),
            (
                "TAG_DOMAINS_LEFT",
                has_band_tags(dataset) and bool(other_domains(dataset)),
                f"Tags of {len(other_domains(dataset))} metadata domains are left behind, where bands have tags of their own.",
            ),
            ("EMPTY_BANDS", any(band.statistics is None for band in bands), f"No valid pixel was sampled in {_empty(bands)}."),
        )
        if is_so
    )


def _empty(bands: tuple[RasterBand, ...]) -> str:
    return "bands " + ", ".join(str(band.index) for band in bands if band.statistics is None)
