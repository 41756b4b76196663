"""Writing a COG as planned, by GDAL's own COG driver. No policy here: every choice is the plan's.

What belongs here: the steps (mend the header if need be, warp if planned, write, name the run) and translating writing errors.
What stays out: the intermediate files themselves (`stage.py`), checking the result (`verify.py`).
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from geo_platform.errors import PlatformError, StoreUnavailable
from geo_platform.raster.intermediate import mend, needs_mending, warp
from geo_platform.raster.metadata import has_band_tags, other_domains
from geo_platform.raster.open import open_raster, read_failure
from geo_platform.raster.plan import CogPlan
from geo_platform.raster.run_tag import put_run_id
from geo_platform.source.openable import OpenableSource

PREDICTORS = {1: "NO", 2: "STANDARD", 3: "FLOATING_POINT"}

_SCRATCH_TROUBLE = re.compile(
    r"no space|disk full|WriteEncoded|TIFFAppend|TIFFRewrite|TIFFWrite|fwrite|cannot write|failed to write|write error|permission",
    re.IGNORECASE,
)


def write_cog(
    source: OpenableSource, plan: CogPlan, destination: Path, *, run_id: str = ""
) -> None:
    """Write the planned COG to `destination`, whose folder takes the intermediate files too; all are removed.

    With the id of the run that writes it, if there is one. On any error `destination` does not exist. Raises SourceTruncated,
    SourceUnreadable, StoreUnavailable, CogInvalid.
    """
    try:
        with ExitStack() as steps:
            dataset = steps.enter_context(open_raster(source))
            steps.enter_context(_writing_errors(source.display_name))
            mends = needs_mending(dataset, plan)
            if mends:
                mended = steps.enter_context(_temporary(destination, "mended"))
                mend(dataset, plan, mended)
                dataset = steps.enter_context(rasterio.open(mended, driver="GTiff", sharing=False))
            if plan.warps:
                warped = steps.enter_context(_temporary(destination, "warped"))
                warp(dataset, plan, warped, was_mended=mends)
                dataset = steps.enter_context(rasterio.open(warped, driver="GTiff", sharing=False))
            rasterio.shutil.copy(
                dataset,
                str(destination),
                driver="COG",
                **creation_options(plan),
                **metadata_options(dataset),
            )
        if run_id:
            put_run_id(destination, run_id)
    except BaseException:
        _remove_leftovers(destination)
        raise


def creation_options(plan: CogPlan) -> dict[str, str | int]:
    """Of GDAL 3.10's COG driver. Existing overviews are made again: nobody knows how they were made."""
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


def metadata_options(dataset: DatasetReader) -> dict[str, str]:
    """Other metadata domains too, where that costs no band its tags.

    GDAL 3.10 left to itself drops other domains, and with COPY_SRC_MDD=YES it drops the bands' own tags instead.
    """
    return {} if has_band_tags(dataset) or not other_domains(dataset) else {"COPY_SRC_MDD": "YES"}


@contextmanager
def _temporary(destination: Path, step: str) -> Iterator[Path]:
    path = destination.with_name(f"{destination.stem}.{step}.tif")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _writing_errors(display_name: str) -> Iterator[None]:
    """GDAL reports a block that cannot be read and a disk that is full by the same exception; its text tells them apart."""
    try:
        yield
    except PlatformError:
        raise
    except (RasterioError, CPLE_BaseError) as error:
        if _SCRATCH_TROUBLE.search(f"{error} {error.__cause__}"):
            raise StoreUnavailable(
                f"The scratch folder could not take the COG of {display_name!r}.",
                gdal=str(error)[:500],
            ) from error
        raise read_failure(display_name, error) from error


def _remove_leftovers(destination: Path) -> None:
    """The unfinished file and what the COG driver keeps beside it while it works."""
    for suffix in ("", ".ovr.tmp", ".msk.ovr.tmp", ".aux.xml"):
        Path(f"{destination}{suffix}").unlink(missing_ok=True)
