"""What lies under a name at this moment: that there is nothing is an answer here, and no error.

What belongs here: that. What stays out: deciding by it. Whoever writes because of it puts with `only_if_etag`, so that what changed since
is seen.
"""

from geo_platform.errors import SourceNotFound
from geo_platform.ports import ObjectStore, StoredObject


def present(objects: ObjectStore, container: str, key: str) -> StoredObject | None:
    """The object, or None. Raises the store's faults."""
    try:
        return objects.stat(container, key)
    except SourceNotFound:
        return None


def present_etag(objects: ObjectStore, container: str, key: str) -> str:
    """As `only_if_etag` takes it: empty where there is nothing. Raises the store's faults."""
    stored = present(objects, container, key)
    return stored.reference.etag if stored else ""
