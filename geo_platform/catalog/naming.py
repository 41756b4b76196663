"""Choose the id, collection and title of an item if the options do not set them.

The catalog checks whether another source has the id, when the item is published.

Used by `api/jobs`, `catalog` and `chains`.
"""

import hashlib
import re
import unicodedata

from geo_platform.contracts.arrival import ObjectArrived
from geo_platform.contracts.vector import FeaturesLoaded
from geo_platform.options import ItemOptions
from geo_platform.source.formats import FORMATS

ITEM_ID_MAX = 200
# In this load mode, the rows of several sources share one table and one item.
APPEND = "append"

_ARCHIVE_SUFFIXES = (".zip", ".gz", ".tar", ".tgz", ".bz2")
_SUFFIXES = tuple(
    sorted(
        {*_ARCHIVE_SUFFIXES, *(suffix for rule in FORMATS.values() for suffix in rule.extensions)},
        key=len,
        reverse=True,
    )
)


def item_place(
    source: ObjectArrived,
    options: ItemOptions,
    *,
    dataset: str | None = None,
    layer_suffix: str | None = None,
    is_one_of_all: bool = False,
) -> tuple[str, str]:
    """Return (collection id, item id) of the item of a source.

    The item id is the id in `options`, else `dataset` (see `dataset_of`), else an id made from the
    name of the object. If the source has several layers, this name ends with `layer_suffix`; so
    does the id in `options` if all layers are taken.
    """
    collection = options.collection_id or default_collection(source.kind)
    item_id = options.item_id or dataset or default_item_id(source.key)
    if layer_suffix is not None and (
        is_one_of_all if options.item_id is not None else dataset is None
    ):
        item_id = f"{item_id[: ITEM_ID_MAX - len(layer_suffix) - 1]}-{layer_suffix}"
    return collection, item_id


def place_of_load(loaded: FeaturesLoaded, options: ItemOptions) -> tuple[str, str]:
    """Return (collection id, item id) of the item of a vector layer."""
    return item_place(
        loaded.source,
        options,
        dataset=dataset_of(loaded),
        layer_suffix=loaded.layer_suffix,
        is_one_of_all=loaded.is_one_of_all,
    )


def dataset_of(loaded: FeaturesLoaded) -> str | None:
    """Return the name of the dataset if rows were appended, else None.

    Appended rows of several sources are one dataset with one item, which is therefore named after
    the dataset and not after a source.
    """
    return loaded.dataset if loaded.load_mode == APPEND else None


def default_item_id(key: str) -> str:
    """Return an item id for an object: its name without folders and known extensions.

    The id has only the characters [A-Za-z0-9._-], at most 200 of them. Accents are dropped. If
    other letters were dropped or the name was cut, the id ends with six hex digits of the hash of
    the name. Names in other scripts thus get different ids.
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


def default_collection(chain_name: str) -> str:
    """Return the collection for the items of a chain, which is named after the kind of its source.

    It is the name's plural: `rasters`, `vectors`.
    """
    return f"{chain_name}s"


def default_title(key: str) -> str:
    """Return the object's name without folders and known extensions, in its own script."""
    return stem(key)[:200]


def stem(key: str) -> str:
    """Return the last part of a key without known extensions: `a/roads.shp.zip` -> `roads`."""
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
