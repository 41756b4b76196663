"""All errors of the platform, as one tree of types.

    PlatformError
    ├── InputRefused               the input cannot be used: never retried, fixable by the user
    │   ├── SourceRefused          the object: missing, empty, unreadable, unsafe
    │   ├── GeoreferenceRefused    its CRS or coordinates
    │   ├── RasterRefused          its pixels
    │   ├── VectorRefused          its layers, geometries, fields
    │   └── RequestRefused         parameters, names, conflicts with what exists
    ├── LimitExceeded              too much memory or time: never retried
    ├── AccessRefused              authentication, authorisation, rate and size: HTTP API only
    └── PlatformFault              stores, database, results: not fixable by the user, some retried

Errors of libraries are translated into these classes where they occur. Codes never change;
docs/errors.md lists them.

A message or remedy names a parameter as it is: `input_crs`, with a value `input_crs=EPSG:4326`, and
in backquotes if the name is also an English word. The command line shows the option instead
(`cli/parameters.py`).

Used throughout the application.
"""

from typing import Any, ClassVar


class PlatformError(Exception):
    """The root of the tree. Only leaves (classes with a `code`) are raised.

    `message` names the object and what was expected; `remedy` says what to do. `details` holds
    small JSON values for logs and reports, never pixels, rows or secrets.
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
        """Return the five fields that every interface shows, in their fixed order."""
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
    """The input cannot be used as it is."""


class SourceRefused(InputRefused):
    """The object cannot be used: missing, empty, unreadable or unsafe."""


class SourceNotFound(SourceRefused):
    code = "SOURCE_NOT_FOUND"
    default_remedy = "Check the name and the container, then submit it again."


class SourceEmpty(SourceRefused):
    code = "SOURCE_EMPTY"
    default_remedy = "It holds no bytes. Export or copy it again."


class SourceUnreadable(SourceRefused):
    code = "SOURCE_UNREADABLE"
    default_remedy = (
        "If QGIS, gdalinfo or ogrinfo can open it, save it from there as GeoTIFF or GeoPackage. "
        "If not, export it again from the original program."
    )


class SourceTruncated(SourceRefused):
    code = "SOURCE_TRUNCATED"
    default_remedy = "The file is cut short or has damaged blocks. Copy or upload it again."


class UnsupportedFormat(SourceRefused):
    code = "UNSUPPORTED_FORMAT"
    default_remedy = "Convert it to a supported format; docs/formats.md lists them."


class ArchiveUnsafe(SourceRefused):
    code = "ARCHIVE_UNSAFE"
    default_remedy = (
        "Zip only the data files: no links, no paths that leave the archive, no nested archives."
    )


class DecompressionBomb(SourceRefused):
    code = "DECOMPRESSION_BOMB"
    default_remedy = "Split the archive, or submit its files unpacked."


class GeoreferenceRefused(InputRefused):
    """The coordinate reference system or the coordinates are missing or implausible."""


class CrsMissing(GeoreferenceRefused):
    code = "CRS_MISSING"
    default_remedy = "Give the coordinate reference system, for example input_crs=EPSG:4326."


class CrsMismatch(GeoreferenceRefused):
    code = "CRS_MISMATCH"
    default_remedy = (
        "Omit input_crs to use the CRS of the file, or set override_crs=true if the file is wrong."
    )


class BoundsImplausible(GeoreferenceRefused):
    code = "BOUNDS_IMPLAUSIBLE"
    default_remedy = (
        "The coordinates do not fit the coordinate reference system. Give the correct one "
        "with input_crs and override_crs=true."
    )


class GeotransformMissing(GeoreferenceRefused):
    code = "GEOTRANSFORM_MISSING"
    default_remedy = "Add a world file beside the image, or georeference it first."


class RasterRefused(InputRefused):
    """The pixels cannot be used."""


class RasterEmpty(RasterRefused):
    code = "RASTER_EMPTY"
    default_remedy = "Every sampled pixel is nodata. Check the export, or the nodata value."


class Raster64BitRejected(RasterRefused):
    code = "RASTER_64BIT_REJECTED"
    default_remedy = "Convert it to 32 bits, or submit it without strict_mode."


class RasterTypeMismatch(RasterRefused):
    code = "RASTER_TYPE_MISMATCH"
    default_remedy = "Leave raster_type at auto, or choose a tier and type that the bands allow."


class NodataConflict(RasterRefused):
    code = "NODATA_CONFLICT"
    default_remedy = "Give one value that every band can hold with `nodata`."


class VectorRefused(InputRefused):
    """The layers, geometries or fields cannot be used."""


class LayerAmbiguous(VectorRefused):
    code = "LAYER_AMBIGUOUS"
    default_remedy = "Choose one of the layers with layer_name, or all of them with layer_name '*'."


class LayerNotFound(VectorRefused):
    code = "LAYER_NOT_FOUND"
    default_remedy = "Choose one of the layers that the file has with layer_name."


class NoFeatures(VectorRefused):
    code = "NO_FEATURES"
    default_remedy = "The layer has no rows. Check the export."


class NoGeometry(VectorRefused):
    code = "NO_GEOMETRY"
    default_remedy = (
        "Name the columns that hold the geometry: lat_name and lon_name, or wkt_column. Give "
        "their CRS with input_crs."
    )


class GeometryMixed(VectorRefused):
    code = "GEOMETRY_MIXED"
    default_remedy = (
        "Set mixed_geometry=split, for one dataset of each geometry type, or mixed_geometry=keep, "
        "for one dataset of all."
    )


class GeometryUnrepairable(VectorRefused):
    code = "GEOMETRY_UNREPAIRABLE"
    default_remedy = (
        "Repair the geometries in the original program; the rejected rows are listed with "
        "their reasons."
    )


class FieldEncoding(VectorRefused):
    code = "FIELD_ENCODING"
    default_remedy = "Give the text encoding, for example encoding=CP1252."


class RequestRefused(InputRefused):
    """The parameters or names are invalid, or conflict with what exists."""


class TableNameInvalid(RequestRefused):
    code = "TABLE_NAME_INVALID"
    default_remedy = (
        "Begin with a letter; use only letters, digits and underscores, at most 63, and no "
        "reserved word."
    )


class TableExists(RequestRefused):
    code = "TABLE_EXISTS"
    default_remedy = "Choose another table_name and another item_id."


class ParameterInvalid(RequestRefused):
    code = "PARAMETER_INVALID"
    default_remedy = "See the description of the parameter in docs/parameters.md."


class QueryInvalid(ParameterInvalid):
    """A query that a standard of the OGC has refused with the status 400."""

    default_remedy = "docs/serving.md and /openapi.json describe the parameters of this address."


class Conflict(RequestRefused):
    code = "CONFLICT"
    default_remedy = (
        "Another source or run uses this name. Choose another item_id, or wait for that run to end."
    )


class NotFound(RequestRefused):
    """The job, request or route does not exist, or the caller may not see it."""

    code = "NOT_FOUND"
    default_remedy = "Check the id; GET /api/jobs lists the existing jobs."


class VersionGone(RequestRefused):
    """The address names a version of an item that is not the published one."""

    code = "VERSION_GONE"
    default_remedy = "Read the item again: its links have the version that is published now."


class RunCanceled(RequestRefused):
    """The run was canceled before it had a result."""

    code = "RUN_CANCELED"
    default_remedy = "Submit it again, or retry it with POST /api/jobs/{id}/retry."


class FilesRefused(RequestRefused):
    """Some files of a run were refused; the metadata of the run lists their error codes."""

    code = "FILES_REFUSED"
    default_remedy = (
        "Fix the files that the run names, then run geo-platform retry RUN, which processes "
        "only those."
    )


class LimitExceeded(PlatformError):
    """The work needs more memory or time than is allowed."""


class MemoryExceeded(LimitExceeded):
    code = "MEMORY_EXCEEDED"
    default_remedy = "Split the source, or run it on a machine with more memory."


class TimeExceeded(LimitExceeded):
    code = "TIME_EXCEEDED"
    default_remedy = "Split the source, or allow it more time."


class AccessRefused(PlatformError):
    """The caller is not allowed to do this, or sends too much. Raised by the HTTP API only."""


class Unauthenticated(AccessRefused):
    """The credential is missing or invalid. Only the audit log records what is wrong with it."""

    code = "UNAUTHENTICATED"
    default_remedy = (
        "Send an API key in X-Api-Key, or an API key or token as Authorization: Bearer; "
        "docs/api.md says how to get one."
    )


class Forbidden(AccessRefused):
    code = "FORBIDDEN"
    default_remedy = "Ask an administrator of the platform for a key or role that allows it."


class RateExceeded(AccessRefused):
    code = "RATE_EXCEEDED"
    default_remedy = "Try again after the number of seconds in Retry-After."
    retryable = True


class BodyTooLarge(AccessRefused):
    code = "BODY_TOO_LARGE"
    default_remedy = "Send less in one request."


class PlatformFault(PlatformError):
    """A failure of the platform or of a store, which the user cannot fix."""

    user_fixable = False


class CogInvalid(PlatformFault):
    code = "COG_INVALID"
    default_remedy = (
        "The written COG failed its checks and was not published. Report it with the run id."
    )


class MessageUnreadable(PlatformFault):
    """A stored message has a version that this deployment cannot read.

    The version is newer than the deployment, or is older and has no registered upgrade.
    """

    code = "MESSAGE_UNREADABLE"
    default_remedy = (
        "Run the job again from its first stage, or deploy a version that has the upgrade."
    )


class StoreUnavailable(PlatformFault):
    code = "STORE_UNAVAILABLE"
    default_remedy = "The object store did not answer. The platform retries by itself."
    retryable = True


class StoreDenied(PlatformFault):
    code = "STORE_DENIED"
    default_remedy = "Grant the identity of the platform access to the container or folder."


class DatabaseUnavailable(PlatformFault):
    code = "DATABASE_UNAVAILABLE"
    default_remedy = "The database did not answer. The platform retries by itself."
    retryable = True


class FilesFailed(PlatformFault):
    """Some files of a run failed by a fault of the platform.

    The metadata of the run lists the error code of each file.
    """

    code = "FILES_FAILED"
    default_remedy = (
        "Run geo-platform retry RUN, which processes only the failed files. Report those that "
        "fail again with the run id."
    )


class UnexpectedFault(PlatformFault):
    """An unforeseen error: a bug of the platform."""

    code = "UNEXPECTED_FAULT"
    default_remedy = "This is a bug of the platform. Report it with the run id."


class CatalogRejected(PlatformFault):
    code = "CATALOG_REJECTED"
    default_remedy = "The catalog did not accept the item. Report it with the run id."


def error_leaves() -> tuple[type[PlatformError], ...]:
    """Return every leaf of the tree, sorted by code."""

    def walk(branch: type[PlatformError]) -> list[type[PlatformError]]:
        return (
            [branch]
            if branch.code
            else [leaf for child in branch.__subclasses__() for leaf in walk(child)]
        )

    return tuple(sorted(walk(PlatformError), key=lambda leaf: leaf.code))
