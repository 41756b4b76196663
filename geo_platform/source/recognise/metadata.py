"""Refuse GDAL's XML metadata (in a TIFF tag, a JP2 box, an .aux.xml) that refers to another file.

GDAL 3.10 opens the file named by OVERVIEW_FILE in the domain OVERVIEWS. A warp opens the files
named by X_DATASET and Y_DATASET in the domain GEOLOCATION. GDAL allows any driver and any path
there, also paths on the network.

Called by `images.py`, `source/sidecar_content.py` and `tiff.py`.
"""

from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from geo_platform.errors import SourceUnreadable, UnsupportedFormat

_REFERRING_DOMAINS = frozenset({"OVERVIEWS", "PROXYOVERVIEWREQUEST", "GEOLOCATION"})
_REFERRING_KEYS = frozenset({"OVERVIEW_FILE", "X_DATASET", "Y_DATASET", "DEM_DATASET"})


def refuse_references(xml: bytes, name: str) -> Element:
    """Parse the metadata and return its root element.

    Raises UnsupportedFormat: the metadata refers to another file, or declares a document type or
    entities.
    Raises SourceUnreadable: the metadata is not well-formed XML.
    """
    try:
        root: Element = fromstring(xml, forbid_dtd=True)
    except DefusedXmlException as error:
        raise UnsupportedFormat(
            f"The metadata of {name!r} declares XML entities or a document type, "
            "which are never read.",
            remedy="Export the file again without this metadata.",
        ) from error
    except (ParseError, ValueError, LookupError) as error:
        raise SourceUnreadable(f"The metadata of {name!r} is not well-formed XML.") from error
    for element in root.iter():
        if _refers_to_file(element):
            raise UnsupportedFormat(
                f"The metadata of {name!r} refers to another file, which is never opened.",
                remedy="Remove the metadata domains OVERVIEWS and GEOLOCATION, for example with "
                "gdal_translate -nomd.",
            )
    return root


def _refers_to_file(element: Element) -> bool:
    values = {key.lower(): value.strip().upper() for key, value in element.attrib.items()}
    return (
        values.get("domain") in _REFERRING_DOMAINS
        or values.get("name") in _REFERRING_KEYS
        or values.get("key") in _REFERRING_KEYS
        or element.tag.upper() in ("SOURCEFILENAME", "SOURCEDATASET")
    )
