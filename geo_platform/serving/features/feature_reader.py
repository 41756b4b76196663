"""Open what reads the rows of published vector items, for the profile.

A module of its own, so that the assets, which need only the protocol `FeatureReader`, import no
store.

Called by `api/services.py` and `resources/stores.py`.
"""

from geo_platform.ports import ObjectStore
from geo_platform.serving.features.opened import FeatureReader
from geo_platform.settings import Profile, Settings


def open_feature_reader(
    settings: Settings, objects: ObjectStore, *, seconds: float, run_id: str = ""
) -> FeatureReader:
    """Return the reader. A read that takes longer than `seconds` is ended.

    The libraries of a profile are imported only if it is chosen.
    """
    if settings.profile is Profile.production:
        from geo_platform.serving.features.tables import PostgisReader
        from geo_platform.storage.postgres.connections import database_of

        return PostgisReader(
            database_of(settings, run_id=run_id),
            connections=settings.features_connections,
            seconds=seconds,
        )
    from geo_platform.serving.features.files import GeoParquetReader

    return GeoParquetReader(
        objects,
        (settings.store_dir, settings.scratch_dir),
        memory_mb=settings.features_memory_mb,
        seconds=seconds,
    )
