"""Write a COG as planned, with GDAL's COG driver.

The plan holds every choice that depends on the source or the request. For intermediate files
see `intermediate.py`; for checking the result see `verify.py`.

Called by `convert.py`.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.io import DatasetReader

from geo_platform.errors import PlatformError, StoreUnavailable
from geo_platform.raster.intermediate import (
    holds_nan,
    may_hold_nan,
    must_replace_nan,
    needs_corrected_copy,
    refuse_rounded,
    with_planned_nodata,
    write_corrected_copy,
    write_warped_copy,
)
from geo_platform.raster.metadata import has_band_tags, other_domains
from geo_platform.raster.open import open_raster, source_error
from geo_platform.raster.plan import CogPlan
from geo_platform.raster.rasterio_internals import (
    cog_leftovers,
    copy_domains_option,
    gdal_error_types,
    reports_failed_write,
)
from geo_platform.raster.run_tag import write_run_id
from geo_platform.source.openable import OpenableSource

# The values of TIFF's Predictor tag (317), and GDAL's names for them in creation options.
PREDICTORS = {1: "NO", 2: "STANDARD", 3: "FLOATING_POINT"}


def write_cog(
    source: OpenableSource, plan: CogPlan, destination: Path, *, run_id: str = ""
) -> None:
    """Write the planned COG to `destination`, with the run id in its metadata unless it is empty.

    Intermediate files are written to the same folder and removed. On any error, `destination` is
    removed too.
    Raises SourceTruncated, SourceUnreadable, UnsupportedFormat: if the source cannot be read.
    Raises StoreUnavailable: if the scratch folder cannot store the COG, for example because the
    disk is full.
    Raises ParameterInvalid: if the plan warps integers of 64 bits that the warper would change.
    Raises CogInvalid: if the run id cannot be written into the COG.
    """
    try:
        _write(source, plan, destination)
        if may_hold_nan(plan) and _overview_holds_nan(destination):
            # NaN spreads from overview to overview, so one pixel is enough to be found here.
            _write(source, plan, destination, replaces_nan=True)
        if run_id:
            write_run_id(destination, run_id)
    except BaseException:
        for leftover in cog_leftovers(destination):
            leftover.unlink(missing_ok=True)
        raise


def _write(
    source: OpenableSource, plan: CogPlan, destination: Path, *, replaces_nan: bool = False
) -> None:
    with ExitStack() as stack:
        dataset = stack.enter_context(open_raster(source))
        stack.enter_context(_writing_errors(source.display_name))
        refuse_rounded(dataset, plan, source.display_name)
        replaces_nan = may_hold_nan(plan) and (replaces_nan or must_replace_nan(dataset, plan))
        is_corrected = needs_corrected_copy(dataset, plan, replaces_nan=replaces_nan)
        if is_corrected:
            corrected = stack.enter_context(_temporary(destination, "corrected"))
            write_corrected_copy(dataset, plan, corrected)
            dataset = stack.enter_context(rasterio.open(corrected, driver="GTiff", sharing=False))
        dataset = stack.enter_context(
            with_planned_nodata(dataset, plan, replaces_nan=replaces_nan and not is_corrected)
        )
        if plan.warps:
            warped = stack.enter_context(_temporary(destination, "warped"))
            write_warped_copy(dataset, plan, warped, was_corrected=is_corrected)
            dataset = stack.enter_context(rasterio.open(warped, driver="GTiff", sharing=False))
        rasterio.shutil.copy(
            dataset,
            str(destination),
            driver="COG",
            **creation_options(plan),
            **whole_bits_option(dataset),
            **metadata_options(dataset),
        )


def _overview_holds_nan(path: Path) -> bool:
    with rasterio.open(path, driver="GTiff", sharing=False) as cog:
        levels = len(cog.overviews(1))
    if not levels:
        return False
    with rasterio.open(path, driver="GTiff", sharing=False, OVERVIEW_LEVEL=levels - 1) as overview:
        return holds_nan(overview)


def creation_options(plan: CogPlan) -> dict[str, str | int]:
    """Return the options of GDAL 3.10's COG driver.

    Overviews of the source are not copied, because how they were computed is unknown.
    """
    options: dict[str, str | int] = {
        "COMPRESS": plan.compression,
        "BLOCKSIZE": plan.blocksize_px,
        "OVERVIEWS": "IGNORE_EXISTING" if plan.overview_factors else "NONE",
        "OVERVIEW_COUNT": len(plan.overview_factors),
        "OVERVIEW_RESAMPLING": plan.overview_resampling.value.replace("_", "").upper(),
        "BIGTIFF": "IF_SAFER",
        "NUM_THREADS": "ALL_CPUS",
    }
    if plan.jpeg_quality is not None:
        return options | {"QUALITY": plan.jpeg_quality, "OVERVIEW_QUALITY": plan.jpeg_quality}
    return options | {
        "LEVEL": plan.level or 1,
        "PREDICTOR": PREDICTORS[plan.predictor],
        "OVERVIEW_PREDICTOR": PREDICTORS[plan.predictor],
    }


def whole_bits_option(dataset: DatasetReader) -> dict[str, str]:
    """Return the creation option that stores whole bytes per pixel, if the dataset does not.

    The COG driver copies the source's NBITS (12 of 16 bits, for example) and then fails, because a
    predictor needs samples of 8, 16, 32 or 64 bits.
    """
    packed = any("NBITS" in dataset.tags(band, ns="IMAGE_STRUCTURE") for band in dataset.indexes)
    return {"NBITS": str(8 * np.dtype(dataset.dtypes[0]).itemsize)} if packed else {}


def metadata_options(dataset: DatasetReader) -> dict[str, str]:
    """Return the creation options that copy metadata domains other than the default.

    With this option GDAL drops the tags of the bands, so it is used only if no band has tags.
    """
    if has_band_tags(dataset) or not other_domains(dataset):
        return {}
    return copy_domains_option()


@contextmanager
def _temporary(destination: Path, step: str) -> Iterator[Path]:
    path = destination.with_name(f"{destination.stem}.{step}.tif")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _writing_errors(display_name: str) -> Iterator[None]:
    """Translate GDAL's errors while it reads the source and writes the COG at the same time."""
    try:
        yield
    except PlatformError:
        raise
    except gdal_error_types() as error:
        if reports_failed_write(f"{error} {error.__cause__}"):
            raise StoreUnavailable(
                f"The scratch folder could not store the COG of {display_name!r}.",
                gdal=str(error)[:500],
            ) from error
        raise source_error(display_name, error) from error
