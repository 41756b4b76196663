"""GDAL's own metadata as XML (in a TIFF tag, a JP2 box, an .aux.xml): refused where it makes GDAL open another file.

GDAL 3.10 opens the file that OVERVIEW_FILE names in the domain OVERVIEWS, and a warp opens the X_DATASET and Y_DATASET
of the domain GEOLOCATION: with any driver, from any path, over the network too.
"""

from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from geo_platform.errors import SourceUnreadable, UnsupportedFormat

_LEADING_DOMAINS = frozenset({"OVERVIEWS", "PROXYOVERVIEWREQUEST", "GEOLOCATION"})
_LEADING_KEYS = frozenset({"OVERVIEW_FILE", "X_DATASET", "Y_DATASET", "DEM_DATASET"})


def refuse_references(xml: bytes, name: str) -> Element:
    """The parsed root. Raises UnsupportedFormat where it leads elsewhere, SourceUnreadable where it is no XML."""
    try:
        root: Element = fromstring(xml, forbid_dtd=True)
    except DefusedXmlException as error:
        raise UnsupportedFormat(
            f"The metadata of {name!r} declares XML entities or a document type, which are never read."
        ) from error
    except (ParseError, ValueError, LookupError) as error:
        raise SourceUnreadable(f"The metadata of {name!r} is not well-formed XML.") from error
    for element in root.iter():
        if _leads_elsewhere(element):
            raise UnsupportedFormat(
                f"The metadata of {name!r} points to another file, which is never opened.",
                remedy="Remove its metadata domains OVERVIEWS and GEOLOCATION, for example with gdal_translate -nomd.",
            )
    return root


def _leads_elsewhere(element: Element) -> bool:
    values = {key.lower(): value.strip().upper() for key, value in element.attrib.items()}
    return (
        values.get("domain") in _LEADING_DOMAINS
        or values.get("name") in _LEADING_KEYS
        or values.get("key") in _LEADING_KEYS
        or element.tag.upper() in ("SOURCEFILENAME", "SOURCEDATASET")
    )
