"""CogStored: plan, write, verify, picture and outline, then into the store; or the same work found there, checked again.

What belongs here: the order of things and the store. What stays out: each step's rule.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import rasterio
from pyproj import CRS

from geo_platform import fingerprint
from geo_platform.contracts.message import Finding, ObjectReference
from geo_platform.contracts.raster import CogFile, CogStored, CogVerification, RasterProfiled
from geo_platform.errors import CogInvalid, Conflict, SourceNotFound
from geo_platform.ports import SILVER, ObjectStore, etag_or_empty
from geo_platform.raster.footprint import footprint_geojson
from geo_platform.raster.gdal_environment import gdal_environment
from geo_platform.raster.options import RasterCogOptions
from geo_platform.raster.picture import Picture, decimated_view, pictures
from geo_platform.raster.plan import CogPlan, CogPlans, plan_cogs
from geo_platform.raster.verify import verify_cog
from geo_platform.raster.write import write_cog
from geo_platform.source.arrival import opened
from geo_platform.source.openable import OpenableSource
from geo_platform.telemetry.checkpoints import Checkpoint, report

# COG bytes over source bytes from which it is worth a word: overviews alone explain a third.
GROWN_MUCH = 1.5

PICTURE_EXTENSIONS = {"thumbnail": "png", "preview": "webp"}

Notify = Callable[[str], None]


@dataclass(frozen=True)
class _Work:
    """What every step of one conversion shares."""

    profiled: RasterProfiled
    plans: CogPlans
    objects: ObjectStore
    folder: str
    metadata: dict[str, str]
    notify: Notify

    def key(self, plan: CogPlan) -> str:
        """Under the fingerprint, named for people."""
        stem = cog_stem(self.profiled)
        tier = (
            f".{plan.tier.value}"
            if len(self.plans.plans) + len(self.plans.refused_tiers) > 1
            else ""
        )
        return f"{self.folder}/{stem}{tier}.tif"

    def picture_key(self, kind: str) -> str:
        """thumbnail or preview"""
        return f"{self.folder}/{kind}.{PICTURE_EXTENSIONS[kind]}"


@dataclass(frozen=True)
class _Shown:
    """What is made of the main COG for people: pictures and outline."""

    thumbnail: Picture
    preview: Picture
    footprint_geojson: str


_Written = tuple[CogPlan, Path, CogVerification]


def make_cogs(
    profiled: RasterProfiled,
    options: RasterCogOptions,
    objects: ObjectStore,
    *,
    run_id: str,
    scratch: Path,
    force: bool = False,
    notify: Notify | None = None,
) -> CogStored:
    """Make every planned COG; nothing is published unless all of them passed their checks.

    The same fingerprint found in the store is verified again instead of redone, unless `force`. Raises what `plan_cogs`,
    `write_cog`, `verify_cog`, `opened` and the store raise.
    """
    started = time.monotonic()
    recipe = fingerprint.extend(profiled.fingerprint, "raster_cog", options.model_dump(mode="json"))
    work = _Work(
        profiled=profiled,
        plans=plan_cogs(profiled, options),
        objects=objects,
        folder=f"{options.output_folder}/{recipe}",
        metadata={"run_id": run_id, "fingerprint": recipe, "source_etag": profiled.source.etag},
        notify=notify or (lambda _: None),
    )
    with opened(objects, profiled.source, scratch=scratch) as source:
        earlier = None if force else _found_earlier(work, source)
        stored = earlier or _made(work, source, scratch)
    return stored.model_copy(update={"seconds": round(time.monotonic() - started, 3)})


def cog_stem(profiled: RasterProfiled) -> str:
    """The object's own name without folder and extension; of an archive, its member's. A name is kept to what a key can hold."""
    member = profiled.source.archive_member
    stem = PurePosixPath(member.path if member else profiled.source.key).stem
    kept = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in stem).strip(
        "._"
    )
    return kept[:120] or "raster"


def sha256_of(path: Path) -> str:
    """In chunks; hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _made(work: _Work, source: OpenableSource, scratch: Path) -> CogStored:
    seen = {
        plan.tier: etag_or_empty(work.objects, SILVER, work.key(plan)) for plan in work.plans.plans
    }
    with TemporaryDirectory(dir=scratch, prefix="cog-") as folder:
        checked = [
            _written(work, source, plan, Path(folder) / f"{plan.tier.value}.tif")
            for plan in work.plans.plans
        ]
        shown = _shown(checked[0][1], work.plans.plans[0])
        thumbnail, preview = _published_pictures(work, shown)
        cogs = tuple(
            _published(work, source, over=seen[made[0].tier], made=made) for made in checked
        )
    return _stored(work, cogs, shown, thumbnail, preview, was_reused=False)


def _written(work: _Work, source: OpenableSource, plan: CogPlan, path: Path) -> _Written:
    work.notify(f"writing {plan.tier.value} COG, {plan.shape.cols} x {plan.shape.rows} px")
    write_cog(source, plan, path, run_id=work.metadata["run_id"])
    work.notify(f"verifying {plan.tier.value} COG")
    size_bytes, run_id = work.profiled.source.size_bytes, work.metadata["run_id"]
    figures = verify_cog(path, source, plan, source_size_bytes=size_bytes, run_id=run_id)
    report(
        Checkpoint.COG_VERIFIED,
        f"{plan.tier.value}: {figures.differing_pixels} of {figures.sampled_pixels} sampled pixels differ",
        tier=plan.tier.value,
        size_bytes=path.stat().st_size,
        sampled_pixels=figures.sampled_pixels,
        differing_pixels=figures.differing_pixels,
    )
    return plan, path, figures


def _shown(path: Path, plan: CogPlan) -> _Shown:
    with gdal_environment(), rasterio.open(path, driver="GTiff", sharing=False) as cog:
        view = decimated_view(cog, plan.raster_type)
        thumbnail, preview = pictures(cog, view, plan.raster_type)
    return _Shown(
        thumbnail,
        preview,
        footprint_geojson(
            view.valid, view.transform, CRS.from_wkt(plan.crs.wkt), plan.lonlat_bounds
        ),
    )


def _published_pictures(work: _Work, shown: _Shown) -> tuple[ObjectReference, ObjectReference]:
    work.notify("publishing")
    return (
        work.objects.put_bytes(
            SILVER, work.picture_key("thumbnail"), shown.thumbnail.content, metadata=work.metadata
        ).reference,
        work.objects.put_bytes(
            SILVER, work.picture_key("preview"), shown.preview.content, metadata=work.metadata
        ).reference,
    )


def _published(work: _Work, source: OpenableSource, *, over: str, made: _Written) -> CogFile:
    """Put where nothing changed since this run began; else another run of the same recipe was faster, and its COG is the one.

    Replaced, the COG would not be what that run's item says of it.
    """
    plan, path, figures = made
    sha256 = sha256_of(path)
    metadata = work.metadata | {"sha256": sha256}
    try:
        stored = work.objects.put_file(
            SILVER, work.key(plan), path, metadata=metadata, move=True, only_if_etag=over
        )
    except Conflict as faster:
        work.notify(f"another run published the {plan.tier.value} COG meanwhile")
        there = _verified_there(work, source, plan)
        if there is None:
            raise faster
        return there[0]
    return _file(plan, stored.reference, sha256, figures)


def _found_earlier(work: _Work, source: OpenableSource) -> CogStored | None:
    """What an earlier run of the same fingerprint left, if all of it is there and still passes every check."""
    try:
        thumbnail, preview = (
            work.objects.stat(SILVER, work.picture_key(kind)).reference
            for kind in ("thumbnail", "preview")
        )
    except SourceNotFound as absent:
        work.notify(f"nothing to re-use: {absent.message}")
        return None
    cogs, shown = [], None
    for plan in work.plans.plans:
        there = _verified_there(work, source, plan, with_shown=shown is None)
        if there is None:
            return None
        cogs.append(there[0])
        shown = shown or there[1]
    return _stored(work, tuple(cogs), shown, thumbnail, preview, was_reused=True) if shown else None


def _verified_there(
    work: _Work, source: OpenableSource, plan: CogPlan, *, with_shown: bool = False
) -> tuple[CogFile, _Shown | None] | None:
    """The COG that the store has under this fingerprint, if it passes every check; `with_shown` also what people are shown of it."""
    try:
        stored = work.objects.stat(SILVER, work.key(plan))
        with work.objects.local_path(SILVER, work.key(plan)) as path:
            work.notify(f"verifying the {plan.tier.value} COG of another run")
            figures = verify_cog(
                path, source, plan, source_size_bytes=work.profiled.source.size_bytes
            )
            sha256 = sha256_of(path)
            if stored.metadata.get("sha256", sha256) != sha256:
                return None
            return _file(plan, stored.reference, sha256, figures), _shown(
                path, plan
            ) if with_shown else None
    except (SourceNotFound, CogInvalid) as absent:
        work.notify(f"nothing to re-use: {absent.message}")
        return None


def _file(plan: CogPlan, stored: ObjectReference, sha256: str, figures: CogVerification) -> CogFile:
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
        asked_crs=plan.asked_crs,
        reasons=plan.reasons,
        verification=figures,
    )


def _stored(
    work: _Work,
    cogs: tuple[CogFile, ...],
    shown: _Shown,
    thumbnail: ObjectReference,
    preview: ObjectReference,
    *,
    was_reused: bool,
) -> CogStored:
    profiled = work.profiled
    return CogStored(
        source=profiled.source,
        raster_type=profiled.raster_type,
        cogs=cogs,
        refused_tiers=work.plans.refused_tiers,
        thumbnail=thumbnail,
        preview=preview,
        preview_media_type=shown.preview.media_type,
        thumbnail_media_type=shown.thumbnail.media_type,
        footprint_geojson=shown.footprint_geojson,
        acquired_at=profiled.acquired_at,
        acquired_from=profiled.acquired_from,
        uncompressed_bytes=profiled.uncompressed_bytes,
        bit_depth=profiled.bit_depth,
        warnings=profiled.warnings + tuple(_grown(cogs)),
        was_reused=was_reused,
        seconds=0.0,
        fingerprint=work.metadata["fingerprint"],
    )


def _grown(cogs: tuple[CogFile, ...]) -> Iterator[Finding]:
    for cog in cogs:
        ratio = cog.verification.size_ratio
        if ratio > GROWN_MUCH:
            yield Finding(
                code="COG_GREW",
                message=f"The {cog.tier.value} COG is {ratio:.1f} times the size of the source object.",
            )
