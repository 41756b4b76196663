"""Files that a driver opens by itself beside the source: they pass the door too.

What belongs here: the rules for .aux.xml and .msk outside archives, and for every such file inside one. What stays out:
which of them are staged (`sidecars.py`).
"""

from geo_platform.errors import PlatformError, SourceUnreadable, UnsupportedFormat
from geo_platform.source.content import Content, head_of
from geo_platform.source.recognise.metadata import refuse_references
from geo_platform.source.recognise.tiff import tiff

_MAX_METADATA_BYTES = 16 * 1024 * 1024
_TIFF_COMPANIONS = (".ovr", ".msk")
_HFA_COMPANIONS = (".aux", ".rrd")


def check_companion(content: Content) -> None:
    """Nothing for a name that no driver follows. Raises UnsupportedFormat or SourceUnreadable.

    An overview or a mask may be a VRT and read any file; only TIFF is let through. An .aux.xml is let through where it is
    plain auxiliary metadata without references.
    """
    name = content.name.lower()
    if content.size_bytes == 0:
        return
    if name.endswith(".aux.xml"):
        _check_auxiliary_metadata(content)
    elif name.endswith(_TIFF_COMPANIONS):
        if tiff(content, head_of(content)) is None:
            raise UnsupportedFormat(
                f"{content.name!r} is named like a mask or an overview, and is no TIFF.",
                remedy="Leave it out.",
            )
    elif name.endswith(_HFA_COMPANIONS) and not head_of(content).startswith(b"EHFA_HEADER_TAG"):
        raise UnsupportedFormat(
            f"{content.name!r} is named like an Erdas Imagine companion, and is none.",
            remedy="Leave it out.",
        )


def _check_auxiliary_metadata(content: Content) -> None:
    if content.size_bytes > _MAX_METADATA_BYTES:
        raise SourceUnreadable(
            f"{content.name!r} is {content.size_bytes} bytes long; auxiliary metadata is at most {_MAX_METADATA_BYTES}."
        )
    with content.open() as stream:
        xml = stream.read(_MAX_METADATA_BYTES)
    try:
        root = refuse_references(xml, content.name)
    except PlatformError as error:
        error.remedy = "Leave the .aux.xml out, or write it anew with gdal_translate."
        raise
    if root.tag.lower() not in ("pamdataset", "metadata"):
        raise UnsupportedFormat(
            f"{content.name!r} is XML with the root element {root.tag!r}, not auxiliary metadata.",
            remedy="Leave it out.",
        )
