"""Every refusal and every fault of the platform, as one tree of types.

    PlatformError
    ├── InputRefused           what came in cannot be used: never retried, the user can mend it
    │   ├── SourceRefused          the object itself: missing, empty, unreadable, unsafe
    │   ├── GeoreferenceRefused    where on Earth it lies
    │   ├── RasterRefused          what the pixels are
    │   ├── VectorRefused          layers, geometries, fields
    │   └── RequestRefused         parameters, names, what exists already
    ├── LimitExceeded          it would cost more memory or time than is allowed: never retried
    ├── AccessRefused          who asks, what they may, how often and how much: met at the HTTP face alone
    └── PlatformFault          stores, database, result: some are retried, none is the user's to mend

What belongs here: types, codes, remedies. What stays out: translating foreign exceptions, which happens where they are
met, and showing an error to a person, which the faces (CLI, assets, API) do. Codes are stable; see docs/errors.md.
"""

from typing import Any, ClassVar


class PlatformError(Exception):
    """The root. `message` names the object and what was expected; `remedy` says what to do about it.

    Only leaves are raised. `details` holds small JSON values for logs and reports, never pixels, rows or secrets.
    """

    code: ClassVar[str] = ""
    default_remedy: ClassVar[str] = ""
    retryable: ClassVar[bool] = False
    user_fixable: ClassVar[bool] = True

    def __init__(self, message: str, *, remedy: str | None = None, **details: Any) -> None:
        if not self.code:
            raise TypeError(
                f"{type(self).__name__} is a branch of the error tree; raise one of its leaves"
            )
        super().__init__(message)
        self.message = message
        self.remedy = remedy or self.default_remedy
        self.details = details

    def __str__(self) -> str:
        return f"{self.code}: {self.message} {self.remedy}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.remedy, self.details)

    def as_record(self) -> dict[str, Any]:
        """The five fields every face shows, in the order of the contract."""
        return {
            "code": self.code,
            "message": self.message,
            "remedy": self.remedy,
            "retryable": self.retryable,
            "user_fixable": self.user_fixable,
        }


def _rebuild(
    leaf: type[PlatformError], message: str, remedy: str, details: dict[str, Any]
) -> PlatformError:
    return leaf(message, remedy=remedy, **details)


class InputRefused(PlatformError):
    """What came in cannot be used as it is."""


class SourceRefused(InputRefused):
    """The object itself."""


class SourceNotFound(SourceRefused):
    code = "SOURCE_NOT_FOUND"
    default_remedy = "Check the name and the container, then submit it again."


class SourceEmpty(SourceRefused):
    code = "SOURCE_EMPTY"
    default_remedy = "The object holds no bytes; upload it again."


class SourceUnreadable(SourceRefused):
    code = "SOURCE_UNREADABLE"
    default_remedy = "Open it in QGIS or with gdalinfo/ogrinfo; if that fails too, export it again from where it came."


class SourceTruncated(SourceRefused):
    code = "SOURCE_TRUNCATED"
    default_remedy = "The file ends too early or its blocks are damaged; copy or upload it again."


class UnsupportedFormat(SourceRefused):
    code = "UNSUPPORTED_FORMAT"
    default_remedy = "Convert it to a supported format; docs/formats.md lists them."


class ArchiveUnsafe(SourceRefused):
    code = "ARCHIVE_UNSAFE"
    default_remedy = (
        "Zip the data files alone: no links, no paths leading outside, no archives inside."
    )


class DecompressionBomb(SourceRefused):
    code = "DECOMPRESSION_BOMB"
    default_remedy = "Split the archive, or send its files unpacked."


class GeoreferenceRefused(InputRefused):
    """Where on Earth it lies."""


class CrsMissing(GeoreferenceRefused):
    code = "CRS_MISSING"
    default_remedy = "Say the coordinate reference system with input_crs, for example EPSG:4326."


class CrsMismatch(GeoreferenceRefused):
    code = "CRS_MISMATCH"
    default_remedy = (
        "Leave input_crs out to use the file's own, or set override_crs if the file is wrong."
    )


class BoundsImplausible(GeoreferenceRefused):
    code = "BOUNDS_IMPLAUSIBLE"
    default_remedy = "The coordinates do not fit the coordinate reference system; give the right one with input_crs and override_crs."


class GeotransformMissing(GeoreferenceRefused):
    code = "GEOTRANSFORM_MISSING"
    default_remedy = "Add a world file beside the image or georeference it first."


class RasterRefused(InputRefused):
    """What the pixels are."""


class RasterEmpty(RasterRefused):
    code = "RASTER_EMPTY"
    default_remedy = "Every sampled pixel is nodata; check the export, or the nodata value."


class Raster64BitRejected(RasterRefused):
    code = "RASTER_64BIT_REJECTED"
    default_remedy = "Convert to 32 bits, or submit without strict_mode."


class RasterTypeMismatch(RasterRefused):
    code = "RASTER_TYPE_MISMATCH"
    default_remedy = (
        "Leave raster_type at auto, or choose a tier and a type that the bands can bear."
    )


class NodataConflict(RasterRefused):
    code = "NODATA_CONFLICT"
    default_remedy = "Give one nodata value that every band can hold."


class VectorRefused(InputRefused):
    """Layers, geometries, fields."""


class LayerAmbiguous(VectorRefused):
    code = "LAYER_AMBIGUOUS"
    default_remedy = "Choose one of the layers with layer_name."


class LayerNotFound(VectorRefused):
    code = "LAYER_NOT_FOUND"
    default_remedy = "Choose one of the layers that the file has."


class NoFeatures(VectorRefused):
    code = "NO_FEATURES"
    default_remedy = "The layer has no rows; check the export."


class NoGeometry(VectorRefused):
    code = "NO_GEOMETRY"
    default_remedy = (
        "Name the columns that hold the geometry: lat_name and lon_name, or wkt_column."
    )


class GeometryMixed(VectorRefused):
    code = "GEOMETRY_MIXED"
    default_remedy = "Split the layer by geometry type, or set mixed_geometry to keep."


class GeometryUnrepairable(VectorRefused):
    code = "GEOMETRY_UNREPAIRABLE"
    default_remedy = (
        "Mend the geometries where they were made; the rejected rows are listed with their reasons."
    )


class FieldEncoding(VectorRefused):
    code = "FIELD_ENCODING"
    default_remedy = "Give the text encoding with encoding, for example CP1252."


class RequestRefused(InputRefused):
    """Parameters, names, what exists already."""


class TableNameInvalid(RequestRefused):
    code = "TABLE_NAME_INVALID"
    default_remedy = "Use a letter first, then letters, digits and underscores, at most 63, and no reserved word."


class TableExists(RequestRefused):
    code = "TABLE_EXISTS"
    default_remedy = "Choose another table_name, or set overwrite."


class ParameterInvalid(RequestRefused):
    code = "PARAMETER_INVALID"
    default_remedy = "See the parameter's description in docs/parameters.md."


class Conflict(RequestRefused):
    code = "CONFLICT"
    default_remedy = (
        "Another source or run holds this name; choose another item_id or wait for that run."
    )


class NotFound(RequestRefused):
    """No job, request or route of this name; or one that whoever asks may not see."""

    code = "NOT_FOUND"
    default_remedy = "Check the id; GET /api/jobs lists the jobs that there are."


class RunCanceled(RequestRefused):
    """Somebody ended the run before it had a result."""

    code = "RUN_CANCELED"
    default_remedy = "Submit it again, or ask for it with POST /api/jobs/{id}/retry."


class FilesRefused(RequestRefused):
    """Of the files that share a run some were refused; each has its own code in the run's metadata."""

    code = "FILES_REFUSED"
    default_remedy = (
        "Mend the files that the run names, then geo-platform retry RUN does those alone."
    )


class LimitExceeded(PlatformError):
    """It would cost more than is allowed here."""


class MemoryExceeded(LimitExceeded):
    code = "MEMORY_EXCEEDED"
    default_remedy = "Split the source, or run it where there is more memory."


class TimeExceeded(LimitExceeded):
    code = "TIME_EXCEEDED"
    default_remedy = "Split the source, or run it where there is more time."


class AccessRefused(PlatformError):
    """Who asks, what they may, how often and how much: met at the HTTP face alone."""


class Unauthenticated(AccessRefused):
    """No credential, or one that does not hold. Never says which part of it failed: that goes to the audit log."""

    code = "UNAUTHENTICATED"
    default_remedy = "Send an API key in X-Api-Key, or an API key or a token as Authorization: Bearer; docs/api.md says how to get one."


class Forbidden(AccessRefused):
    code = "FORBIDDEN"
    default_remedy = "Ask whoever keeps the platform for a key or a role that allows it."


class RateExceeded(AccessRefused):
    code = "RATE_EXCEEDED"
    default_remedy = "Ask again after the seconds that Retry-After names."
    retryable = True


class BodyTooLarge(AccessRefused):
    code = "BODY_TOO_LARGE"
    default_remedy = "Send less at once."


class PlatformFault(PlatformError):
    """Ours to mend."""

    user_fixable = False


class CogInvalid(PlatformFault):
    code = "COG_INVALID"
    default_remedy = (
        "The written COG did not pass its checks and was not published; report it with the run id."
    )


class MessageUnreadable(PlatformFault):
    """A stored message of a version that this deployment cannot read: an older one without an upgrade, or a newer one."""

    code = "MESSAGE_UNREADABLE"
    default_remedy = (
        "Launch the job again from its first stage, or deploy a version that has the upgrade."
    )


class StoreUnavailable(PlatformFault):
    code = "STORE_UNAVAILABLE"
    default_remedy = "The object store did not answer; it is tried again by itself."
    retryable = True


class StoreDenied(PlatformFault):
    code = "STORE_DENIED"
    default_remedy = "Grant the platform's identity access to the container or folder."


class DatabaseUnavailable(PlatformFault):
    code = "DATABASE_UNAVAILABLE"
    default_remedy = "The database did not answer; it is tried again by itself."
    retryable = True


class FilesFailed(PlatformFault):
    """Of the files that share a run some failed by a fault of the platform; each has its own code in the run's metadata."""

    code = "FILES_FAILED"
    default_remedy = "geo-platform retry RUN does those files alone; report those that fail again with the run id."


class UnexpectedFault(PlatformFault):
    """Something nobody foresaw: a bug of the platform, never the user's."""

    code = "UNEXPECTED_FAULT"
    default_remedy = "This is a fault of the platform; report it with the run id."


class CatalogRejected(PlatformFault):
    code = "CATALOG_REJECTED"
    default_remedy = "The catalog did not accept the item; report it with the run id."


def error_leaves() -> tuple[type[PlatformError], ...]:
    """Every leaf of the tree, sorted by code: what docs and tests go through."""

    def walk(branch: type[PlatformError]) -> list[type[PlatformError]]:
        return (
            [branch]
            if branch.code
            else [leaf for child in branch.__subclasses__() for leaf in walk(child)]
        )

    return tuple(sorted(walk(PlatformError), key=lambda leaf: leaf.code))
