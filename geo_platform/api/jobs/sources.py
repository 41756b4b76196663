"""The source of a job as it lies there now, looked up and not read: its etag with its sidecars', as the receiving stage computes it.

What belongs here: what is asked of the object store before a job is accepted, and telling a watch that the source has its run. What
stays out: what the bytes are, which the job finds out.
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
    """The object with the sidecars that a driver will see. Raises SourceNotFound and the store's faults."""
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
    """Where a watch looks too, it finds that these bytes have their run: the job's. `waits_at` lies among the messages until that exists.

    False where no watch is about them, or it was faster: then the job's run follows the watch's. Raises the store's faults.
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
