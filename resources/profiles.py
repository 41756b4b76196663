"""The resources of a profile, by key.

What belongs here: which resource serves which key. What stays out: joining them to assets (`geo_platform/definitions.py`).
"""

from typing import Any

from geo_platform.settings import Profile
from resources.io_manager import Messages
from resources.scratch import ScratchFolder
from resources.stores import FolderObjects, LakeFeatures, StacFolder


def resources_of(profile: Profile) -> dict[str, Any]:
    """The same keys whatever the profile; its libraries are imported when it is chosen."""
    if profile is Profile.production:
        from resources.production import BlobObjects, PgStacCatalog, PostgisTables

        objects, features, catalog = BlobObjects(), PostgisTables(), PgStacCatalog()
    else:
        objects, features, catalog = FolderObjects(), LakeFeatures(), StacFolder()  # type: ignore[assignment]
    return {
        "objects": objects,
        "features": features,
        "catalog": catalog,
        "scratch": ScratchFolder(),
        "io_manager": Messages(objects=objects),
    }
