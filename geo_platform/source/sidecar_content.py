"""Check the content of sidecars that a driver opens by itself: metadata, masks, overviews.

`sidecars.py` decides which files are sidecars and which sidecars a driver may read.

Called by `driver_files.py` and `members.py`.
"""

from geo_platform.errors import PlatformError, SourceUnreadable, UnsupportedFormat
from geo_platform.source.content import Content, head_of
from geo_platform.source.recognise.metadata import refuse_references
from geo_platform.source.recognise.tiff import tiff

_MAX_METADATA_BYTES = 16 * 1024 * 1024
_TIFF_SUFFIXES = (".ovr", ".msk")
_HFA_SUFFIXES = (".aux", ".rrd")


def check_sidecar(content: Content) -> None:
    """Refuse a sidecar through which GDAL could open another file.

    GDAL opens an overview or a mask with any driver, a VRT included, so only TIFF is accepted. An
    .aux.xml must be auxiliary metadata without references to other files. Files with other suffixes
    are accepted unread.

    Raises UnsupportedFormat: the content is not what the name indicates, or refers to another file.
    Raises SourceUnreadable, SourceTruncated: the XML or the TIFF is damaged or too large.
    """
    name = content.name.lower()
    if content.size_bytes == 0:
        return
    if name.endswith(".aux.xml"):
        _check_auxiliary_metadata(content)
    elif name.endswith(_TIFF_SUFFIXES):
        if tiff(content, head_of(content)) is None:
            raise UnsupportedFormat(
                f"{content.name!r} has the name of a mask or overview but is not a TIFF.",
                remedy="Submit the source without it.",
            )
    elif name.endswith(_HFA_SUFFIXES) and not head_of(content).startswith(b"EHFA_HEADER_TAG"):
        raise UnsupportedFormat(
            f"{content.name!r} has the name of an Erdas Imagine sidecar but is not one.",
            remedy="Submit the source without it.",
        )


def _check_auxiliary_metadata(content: Content) -> None:
    if content.size_bytes > _MAX_METADATA_BYTES:
        raise SourceUnreadable(
            f"{content.name!r} is {content.size_bytes} bytes long; "
            f"the limit for auxiliary metadata is {_MAX_METADATA_BYTES}.",
            remedy="Submit the source without it.",
        )
    with content.open() as stream:
        xml = stream.read(_MAX_METADATA_BYTES)
    try:
        root = refuse_references(xml, content.name)
    except PlatformError as error:
        error.remedy = "Remove the .aux.xml, or write a new one with gdal_translate."
        raise
    if root.tag.lower() not in ("pamdataset", "metadata"):
        raise UnsupportedFormat(
            f"{content.name!r} is XML with the root element {root.tag!r}, not auxiliary metadata.",
            remedy="Submit the source without it.",
        )
