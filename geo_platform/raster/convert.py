"""Convert a profiled raster: plan, write, verify, draw pictures and a footprint, then publish.

The fingerprint is a hash over the source, the options and the recipes (name and version of each
stage). If the store already holds COGs under the same fingerprint, they are verified and reused.
For the rules of each step see `plan.py`, `write.py`, `verify.py`, `picture.py` and `footprint.py`.

Called by `chains/raster.py` and `code_location.py`.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from pyproj import CRS

from geo_platform.contracts.message import Finding, ObjectReference
from geo_platform.contracts.raster import (
    CogFile,
    CogStored,
    CogVerification,
    Drawing,
    RasterProfiled,
    RasterType,
)
from geo_platform.errors import CogInvalid, Conflict, RasterEmpty, SourceNotFound
from geo_platform.fingerprint import Recipe
from geo_platform.ports import SILVER, ObjectStore, etag_or_empty
from geo_platform.raster.footprint import footprint_geojson, valid_cells
from geo_platform.raster.open import open_cog, open_raster
from geo_platform.raster.options import RasterCogOptions
from geo_platform.raster.picture import Picture, decide_drawing, pictures, without_long_table
from geo_platform.raster.plan import CogPlan, CogPlans, plan_cogs
from geo_platform.raster.rasterio_internals import category_names
from geo_platform.raster.verify import verify_cog
from geo_platform.raster.write import write_cog
from geo_platform.source.arrival import open_source
from geo_platform.source.openable import OpenableSource
from geo_platform.telemetry.checkpoints import Checkpoint, report

# Warn if the COG has more than this multiple of the source's bytes. Overviews alone add a third.
MAX_SILENT_GROWTH = 1.5

PICTURE_EXTENSIONS = {"thumbnail": "png", "preview": "webp"}

# Receives a line of text about the progress of the conversion.
Notify = Callable[[str], None]


@dataclass(frozen=True)
class _Conversion:
    """The values that all steps of one conversion share."""

    profiled: RasterProfiled
    plans: CogPlans
    objects: ObjectStore
    folder: str
    metadata: dict[str, str]
    notify: Notify

    def key(self, plan: CogPlan) -> str:
        """Return the key `<folder>/<name>.tif`, `<folder>/<name>.<tier>.tif` with several tiers."""
        stem = cog_stem(self.profiled)
        tier = (
            f".{plan.tier.value}"
            if len(self.plans.plans) + len(self.plans.refused_tiers) > 1
            else ""
        )
        return f"{self.folder}/{stem}{tier}.tif"

    def picture_key(self, kind: str) -> str:
        """Return the key of the `thumbnail` or `preview`."""
        return f"{self.folder}/{kind}.{PICTURE_EXTENSIONS[kind]}"


@dataclass(frozen=True)
class _Illustration:
    """Pictures of the main COG, how they are drawn, and its footprint."""

    drawing: Drawing
    thumbnail: Picture
    preview: Picture
    footprint_geojson: str


_VerifiedCog = tuple[CogPlan, Path, CogVerification]


def make_cogs(
    profiled: RasterProfiled,
    options: RasterCogOptions,
    objects: ObjectStore,
    *,
    recipe: Recipe,
    run_id: str,
    scratch: Path,
    notify: Notify | None = None,
) -> CogStored:
    """Make all planned COGs, and publish them if all of them pass verification.

    COGs with the same fingerprint in the store are verified and reused, unless the source was
    submitted with `force`. `notify` receives a line for each step.
    Raises RasterTypeMismatch, ParameterInvalid: if the options do not suit the source.
    Raises Conflict: if the source was replaced since it arrived, or another run has stored a COG
    that does not pass verification.
    Raises SourceUnreadable, SourceTruncated, UnsupportedFormat: if the source cannot be read.
    Raises CogInvalid: if a new COG differs from its plan or from the source.
    Raises RasterEmpty: if a reprojection leaves no valid pixel.
    Raises StoreUnavailable, StoreDenied: if the store or the scratch folder does not work, or the
    store refuses access.
    """
    started = time.monotonic()
    fingerprint = recipe.extend(profiled.fingerprint, options.model_dump(mode="json"))
    conversion = _Conversion(
        profiled=profiled,
        plans=plan_cogs(profiled, options),
        objects=objects,
        folder=f"{options.output_folder}/{fingerprint}",
        metadata={
            "run_id": run_id,
            "fingerprint": fingerprint,
            "source_etag": profiled.source.etag,
        },
        notify=notify or (lambda _: None),
    )
    with open_source(objects, profiled.source, scratch=scratch) as source:
        reused = None if profiled.source.force else _reuse(conversion, source)
        result = reused or _convert(conversion, source, scratch)
    return result.model_copy(update={"seconds": round(time.monotonic() - started, 3)})


def cog_stem(profiled: RasterProfiled) -> str:
    """Return the name of the object, or of the archive's member, without folder and extension.

    Characters other than letters, digits, `.`, `_` and `-` are replaced by `_`.
    """
    member = profiled.source.archive_member
    stem = PurePosixPath(member.path if member else profiled.source.key).stem
    safe_stem = "".join(
        letter if letter.isalnum() or letter in "._-" else "_" for letter in stem
    ).strip("._")
    return safe_stem[:120] or "raster"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of the file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _convert(conversion: _Conversion, source: OpenableSource, scratch: Path) -> CogStored:
    etags = {
        plan.tier: etag_or_empty(conversion.objects, SILVER, conversion.key(plan))
        for plan in conversion.plans.plans
    }
    with TemporaryDirectory(dir=scratch, prefix="cog-") as folder:
        verified = [
            _write_and_verify(conversion, source, plan, Path(folder) / f"{plan.tier.value}.tif")
            for plan in conversion.plans.plans
        ]
        main = conversion.plans.plans[0]
        illustration = _illustrate(verified[0][1], main, _class_names(source, main))
        thumbnail, preview = _publish_pictures(conversion, illustration)
        cogs = tuple(
            _publish_cog(conversion, source, only_if_etag=etags[cog[0].tier], cog=cog)
            for cog in verified
        )
    return _message(conversion, cogs, illustration, thumbnail, preview, was_reused=False)


def _write_and_verify(
    conversion: _Conversion, source: OpenableSource, plan: CogPlan, path: Path
) -> _VerifiedCog:
    conversion.notify(f"writing {plan.tier.value} COG, {plan.shape.cols} x {plan.shape.rows} px")
    write_cog(source, plan, path, run_id=conversion.metadata["run_id"])
    conversion.notify(f"verifying {plan.tier.value} COG")
    size_bytes, run_id = conversion.profiled.source.size_bytes, conversion.metadata["run_id"]
    verification = verify_cog(path, source, plan, source_size_bytes=size_bytes, run_id=run_id)
    report(
        Checkpoint.COG_VERIFIED,
        f"{plan.tier.value}: {verification.differing_pixels} of {verification.sampled_pixels} "
        "sampled pixels differ",
        tier=plan.tier.value,
        size_bytes=path.stat().st_size,
        sampled_pixels=verification.sampled_pixels,
        differing_pixels=verification.differing_pixels,
    )
    return plan, path, verification


def _class_names(source: OpenableSource, plan: CogPlan) -> tuple[str, ...]:
    """Return the category names of the source, which a COG cannot hold."""
    if plan.raster_type is not RasterType.categorical and not plan.bands[0].has_color_table:
        return ()
    with open_raster(source) as dataset:
        return category_names(dataset)


def _illustrate(path: Path, plan: CogPlan, class_names: tuple[str, ...]) -> _Illustration:
    with open_cog(path) as cog:
        drawing, view = decide_drawing(cog, plan.raster_type, class_names=class_names)
        thumbnail, preview = pictures(view, drawing)
        cells = valid_cells(cog, plan.overview_resampling)
    if not cells.valid.any():
        raise RasterEmpty(
            "The reprojection leaves no valid pixel in the COG.",
            remedy="Choose a target_crs that is made for this area. If the source has few valid "
            "pixels, set reproject_resampling to average, which keeps them.",
        )
    crs = CRS.from_wkt(plan.crs.wkt)
    return _Illustration(
        without_long_table(drawing),
        thumbnail,
        preview,
        footprint_geojson(cells.valid, cells.transform, crs, plan.lonlat_bounds, cells.extent),
    )


def _publish_pictures(
    conversion: _Conversion, illustration: _Illustration
) -> tuple[ObjectReference, ObjectReference]:
    conversion.notify("publishing")
    return (
        conversion.objects.put_bytes(
            SILVER,
            conversion.picture_key("thumbnail"),
            illustration.thumbnail.content,
            metadata=conversion.metadata,
        ).reference,
        conversion.objects.put_bytes(
            SILVER,
            conversion.picture_key("preview"),
            illustration.preview.content,
            metadata=conversion.metadata,
        ).reference,
    )


def _publish_cog(
    conversion: _Conversion, source: OpenableSource, *, only_if_etag: str, cog: _VerifiedCog
) -> CogFile:
    """Store the COG, or return the sound COG that another run has stored.

    The other run's STAC item describes the other run's COG, so that COG must not be replaced. The
    other run may have stored it before or after this run began. A source that was submitted with
    `force` replaces a COG that was stored before.
    Raises Conflict: if the other run's COG does not pass verification.
    """
    plan, path, verification = cog
    if only_if_etag and not conversion.profiled.source.force:
        kept = _verify_stored(conversion, source, plan)
        if kept is not None:
            return kept[0]
    sha256 = sha256_of(path)
    metadata = conversion.metadata | {"sha256": sha256}
    try:
        stored = conversion.objects.put_file(
            SILVER,
            conversion.key(plan),
            path,
            metadata=metadata,
            move=True,
            only_if_etag=only_if_etag,
        )
    except Conflict as conflict:
        conversion.notify(f"another run has published the {plan.tier.value} COG")
        stored_cog = _verify_stored(conversion, source, plan)
        if stored_cog is None:
            raise conflict
        return stored_cog[0]
    return _cog_file(plan, stored.reference, sha256, verification)


def _reuse(conversion: _Conversion, source: OpenableSource) -> CogStored | None:
    """Return the result of an earlier run with this fingerprint, if it is complete and valid."""
    try:
        thumbnail, preview = (
            conversion.objects.stat(SILVER, conversion.picture_key(kind)).reference
            for kind in ("thumbnail", "preview")
        )
    except SourceNotFound as error:
        conversion.notify(f"nothing to reuse: {error.message}")
        return None
    cogs, illustration = [], None
    for plan in conversion.plans.plans:
        stored_cog = _verify_stored(
            conversion, source, plan, with_illustration=illustration is None
        )
        if stored_cog is None:
            return None
        cogs.append(stored_cog[0])
        illustration = illustration or stored_cog[1]
    if illustration is None:
        return None
    return _message(conversion, tuple(cogs), illustration, thumbnail, preview, was_reused=True)


def _verify_stored(
    conversion: _Conversion,
    source: OpenableSource,
    plan: CogPlan,
    *,
    with_illustration: bool = False,
) -> tuple[CogFile, _Illustration | None] | None:
    """Return the stored COG of this plan and, if `with_illustration`, its illustration.

    Return None if the COG is missing, fails verification or does not match its stored checksum.
    """
    try:
        stored = conversion.objects.stat(SILVER, conversion.key(plan))
        with conversion.objects.local_path(SILVER, conversion.key(plan)) as path:
            conversion.notify(f"verifying the {plan.tier.value} COG of another run")
            verification = verify_cog(
                path, source, plan, source_size_bytes=conversion.profiled.source.size_bytes
            )
            sha256 = sha256_of(path)
            if stored.metadata.get("sha256", sha256) != sha256:
                return None
            illustration = None
            if with_illustration:
                illustration = _illustrate(path, plan, _class_names(source, plan))
            return _cog_file(plan, stored.reference, sha256, verification), illustration
    except (SourceNotFound, CogInvalid) as error:
        conversion.notify(f"nothing to reuse: {error.message}")
        return None


def _cog_file(
    plan: CogPlan, stored: ObjectReference, sha256: str, verification: CogVerification
) -> CogFile:
    return CogFile(
        tier=plan.tier,
        stored=stored,
        sha256=sha256,
        crs=plan.crs,
        shape=plan.shape,
        bounds=plan.bounds,
        lonlat_bounds=plan.lonlat_bounds,
        transform=plan.transform,
        bands=plan.bands,
        overview_factors=plan.overview_factors,
        compression=plan.compression,
        predictor=plan.predictor,
        blocksize_px=plan.blocksize_px,
        overview_resampling=plan.overview_resampling.value,
        reproject_resampling=plan.reproject_resampling.value if plan.reproject_resampling else None,
        was_reprojected=plan.is_reprojected,
        asked_crs=plan.requested_crs,
        reasons=plan.reasons,
        verification=verification,
    )


def _message(
    conversion: _Conversion,
    cogs: tuple[CogFile, ...],
    illustration: _Illustration,
    thumbnail: ObjectReference,
    preview: ObjectReference,
    *,
    was_reused: bool,
) -> CogStored:
    profiled = conversion.profiled
    return CogStored(
        source=profiled.source,
        raster_type=profiled.raster_type,
        cogs=cogs,
        refused_tiers=conversion.plans.refused_tiers,
        thumbnail=thumbnail,
        preview=preview,
        preview_media_type=illustration.preview.media_type,
        thumbnail_media_type=illustration.thumbnail.media_type,
        footprint_geojson=illustration.footprint_geojson,
        acquired_at=profiled.acquired_at,
        acquired_from=profiled.acquired_from,
        uncompressed_bytes=profiled.uncompressed_bytes,
        bit_depth=profiled.bit_depth,
        warnings=profiled.warnings + conversion.plans.warnings + tuple(_growth_warnings(cogs)),
        was_reused=was_reused,
        seconds=0.0,
        fingerprint=conversion.metadata["fingerprint"],
        drawing=illustration.drawing,
    )


def _growth_warnings(cogs: tuple[CogFile, ...]) -> Iterator[Finding]:
    for cog in cogs:
        ratio = cog.verification.size_ratio
        if ratio > MAX_SILENT_GROWTH:
            yield Finding(
                code="COG_GREW",
                message=(
                    f"The {cog.tier.value} COG is {ratio:.1f} times the size of the source object."
                ),
            )
