"""Names that nobody gave: item id, collection, title, each from the object's own.

What belongs here: names, pure. What stays out: whether a name is taken, which the catalog knows.
"""

import hashlib
import re
import unicodedata

from geo_platform.contracts.arrival import SourceKind
from geo_platform.source.formats import FORMATS

ITEM_ID_MAX = 200
_ARCHIVE_SUFFIXES = (".zip", ".gz", ".tar", ".tgz", ".bz2")
_SUFFIXES = tuple(
    sorted(
        {*_ARCHIVE_SUFFIXES, *(suffix for rule in FORMATS.values() for suffix in rule.extensions)},
        key=len,
        reverse=True,
    )
)
_COLLECTIONS = {SourceKind.raster: "rasters", SourceKind.vector: "vectors"}


def default_item_id(key: str) -> str:
    """Id for the object's item: its name without folders and known extensions, in [A-Za-z0-9._-], at most 200 characters.

    Accents are dropped. Where letters had to be left out that are no accents, or the name was cut, six hex digits of the
    name's hash follow, so that names in other scripts stay apart.
    """
    name = stem(key)
    plain = unicodedata.normalize("NFKD", name)
    letters_lost = any(character.isalnum() and not character.isascii() for character in plain)
    ascii_only = "".join(character for character in plain if not unicodedata.combining(character))
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", ascii_only)
    slug = re.sub(r"-*\.[-.]*", ".", re.sub(r"-{2,}", "-", slug)).strip("._-")
    if slug and not letters_lost and len(slug) <= ITEM_ID_MAX:
        return slug
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return f"{slug[: ITEM_ID_MAX - 7].strip('._-') or 'item'}-{digest}"


def default_collection(kind: SourceKind) -> str:
    """Collection for items of one kind."""
    return _COLLECTIONS[kind]


def default_title(key: str) -> str:
    """Title for people: the object's name without folders and known extensions, in its own script."""
    return stem(key)[:200]


def stem(key: str) -> str:
    """`a/b/roads.shp.zip` -> `roads`: the last part of the key less every known extension at its end."""
    name = key.rpartition("/")[2]
    while True:
        suffix = next(
            (
                known
                for known in _SUFFIXES
                if name.lower().endswith(known) and len(name) > len(known)
            ),
            None,
        )
        if suffix is None:
            return name
        name = name[: -len(suffix)]
