"""Look up the source of a job in the object store before the job is accepted.

The etag covers the sidecars, as the first stage computes it. No content is read.
"""

from collections.abc import Iterable

from geo_platform.arrivals.arrival import Arrival, arrival_of
from geo_platform.arrivals.receipts import take_for_client
from geo_platform.arrivals.watch import Watch, watch_of
from geo_platform.contracts.submission import JobSubmitted
from geo_platform.errors import ParameterInvalid, SourceNotFound
from geo_platform.ports import ObjectStore
from geo_platform.source.sidecars import seen_by_driver


def source_of(objects: ObjectStore, container: str, key: str) -> Arrival:
    """Return the object with its sidecars. Raises SourceNotFound and the store's errors."""
    try:
        main = objects.stat(container, key)
    except ParameterInvalid as error:
        raise ParameterInvalid(
            f"{key!r} cannot be the name of an object: {error.message}"
        ) from error
    folder, slash, base = key.rpartition("/")
    stem = base.rpartition(".")[0] or base
    beside = {
        stored.reference.key: stored for stored in objects.list(container, folder + slash + stem)
    }
    if key not in beside:
        raise SourceNotFound(f"There is no object {key!r} in the container {container!r} any more.")
    return arrival_of(main, tuple(beside[name] for name in seen_by_driver(key, beside)))


def take_from_watch(
    objects: ObjectStore,
    watches: Iterable[Watch],
    source: Arrival,
    job: JobSubmitted,
    *,
    waits_at: str,
) -> bool:
    """Record that these bytes have their run, the job's, so that a watch launches no other one.

    `waits_at` is the message that exists until that run does. Return False if no watch covers the
    source, or the watch was first; the job's run then follows the watch's. Raises the store's
    errors.
    """
    watch = watch_of(watches, source.container, source.key)
    if watch is None:
        return False
    return take_for_client(
        objects,
        source,
        watch,
        run_key=job.job_id,
        waits_at=waits_at,
        now_utc=job.first_asked_at_utc,
    )
