"""Run a deployment whose sensors tick, put objects into it, and check every requested run.

Daemon and code location run on the production stores, with a queue of events as Event Grid sends
them. Tests decide what happens to the deployment.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any
from unittest.mock import patch

import dagster as dg
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueClient

from geo_platform.cli.application import INSTANCE_TEMPLATES
from geo_platform.contracts.arrival import RunAsked
from geo_platform.contracts.stored import load_message
from geo_platform.orchestrator.shared_runs import requested_files
from geo_platform.ports import BRONZE, ITEM_SOURCE, MESSAGES
from geo_platform.runs import ARRIVAL_TAG, PARENT_RUN_TAG, RUN_KEY_TAG, WATCH_TAG
from geo_platform.settings import Profile
from tests.support.command import ROOT
from tests.support.in_process import geo_platform_here
from tests.support.own_dagster import CODE, DAEMON, OwnDagster, own_dagster
from tests.support.production import ProfileUnderTest
from tests.support.published import published_rows
from tests.support.queues import Shape, announce, own_queue

PATIENCE_S = 300
_POLL_S = 0.3


@dataclass
class Arriving:
    """The deployment. `keys` are the objects that were put; `settled` checks each."""

    profile: ProfileUnderTest
    home: Path
    own: OwnDagster
    queue: QueueClient
    blobs: BlobServiceClient
    instance: dg.DagsterInstance
    prefix: str
    keys: set[str] = field(default_factory=set)

    def put(self, key: str, content: bytes, *shapes: Shape) -> None:
        """Put an object, and send its event in each shape."""
        blob = self.blobs.get_blob_client(f"{self.prefix}{BRONZE}", key)
        blob.upload_blob(content, overwrite=True)
        self.keys.add(key)
        for number, shape in enumerate(shapes):
            announce(self.queue, blob, shape, encode=number % 2 == 0)

    def delete(self, key: str) -> None:
        self.blobs.get_blob_client(f"{self.prefix}{BRONZE}", key).delete_blob()

    def etag(self, key: str) -> str:
        return str(
            self.blobs.get_blob_client(f"{self.prefix}{BRONZE}", key).get_blob_properties().etag
        ).strip('"')

    def records(self, key: str) -> list[dg.RunRecord]:
        """Return every run that had the object, newest first."""
        watched = self.instance.get_run_records(dg.RunsFilter(tags={WATCH_TAG: "bronze"}))
        return [record for record in watched if key in keys_of(record.dagster_run)]

    def items(self, key: str) -> list[Mapping[str, Any]]:
        """Return the items whose source is the object."""
        return [
            entry.item for entry in self.profile.catalog(self.home).entries() if entry.source == key
        ]

    def rows(self, key: str) -> Any:
        (item,) = self.items(key)
        return published_rows(self.profile, self.home, item)

    def results(self) -> Counter[str]:
        """Return how many items were ever published of each object."""
        catalog = self.profile.catalog(self.home)
        replaced = [str(version.item["properties"][ITEM_SOURCE]) for version in catalog.versions()]
        return Counter([*replaced, *(entry.source for entry in catalog.entries())])

    def error_of(self, run_id: str) -> Mapping[str, Any]:
        result = geo_platform_here(
            "status", run_id, "--json", home=self.home, extra=self.profile.environment
        )
        found: Mapping[str, Any] = json.loads(result.stdout)["error"]
        return found

    def wait(
        self, holds: Callable[[], Any], *, patience_s: float = PATIENCE_S, poll_s: float = _POLL_S
    ) -> Any:
        deadline = time.monotonic() + patience_s
        while not (value := holds()):
            assert time.monotonic() < deadline, f"waited in vain; {self.state()}"
            time.sleep(poll_s)
        return value

    def published(self, *keys: str, patience_s: float = PATIENCE_S) -> None:
        """Wait until each object is published in its current version."""
        wanted = {key: self.etag(key) for key in keys}

        def etags() -> bool:
            entries = self.profile.catalog(self.home).entries()
            found = {
                entry.source: entry.item["properties"]["geo_platform:source_etag"]
                for entry in entries
            }
            return all(found.get(key) == etag for key, etag in wanted.items())

        # Each poll lists the whole catalog, so many keys are polled less often.
        self.wait(etags, patience_s=patience_s, poll_s=max(_POLL_S, len(keys) / 200))

    def settled(self, *, patience_s: float = PATIENCE_S) -> None:
        """Wait until no message or run is left; check that each arrival had exactly one run."""
        self.wait(
            lambda: (
                not self.messages() and all(run.is_finished for run in self.instance.get_runs())
            ),
            patience_s=patience_s,
        )
        receipts, runs = (
            self.receipts(),
            [run for run in self._watched() if PARENT_RUN_TAG not in run.tags],
        )
        requested = Counter(arrival for run in runs for arrival in _arrivals(run, receipts))
        assert set(requested.values()) <= {1}, (
            f"requested more than once: {[one for one, times in requested.items() if times > 1]}"
        )
        run_keys = Counter(run.tags[RUN_KEY_TAG] for run in runs)
        assert set(run_keys.values()) <= {1}
        assert {receipt.run_key for receipt in receipts.values()} == set(run_keys), (
            "a receipt without its run, or a run without its receipt"
        )

    def messages(self) -> int:
        """Count the messages, hidden ones included."""
        return int(self.queue.get_queue_properties().approximate_message_count or 0)

    def receipts(self) -> dict[str, RunAsked]:
        """Return the receipts by arrival key."""
        container = self.blobs.get_container_client(f"{self.prefix}{MESSAGES}")
        return {
            Path(blob.name).stem: load_message(
                container.download_blob(blob.name).readall(), RunAsked
            )
            for blob in container.list_blobs(name_starts_with="arrivals/")
        }

    def asked(self) -> int:
        """Count the receipts."""
        container = self.blobs.get_container_client(f"{self.prefix}{MESSAGES}")
        return sum(1 for _ in container.list_blob_names(name_starts_with="arrivals/"))

    def restart(self, **environment: str) -> None:
        """Restart daemon and code location with these settings."""
        for name in (DAEMON, CODE):
            if name in self.own.processes:
                self.own.kill(name)
        self.own.environment = {**self.own.environment, **environment}
        self.own.start(CODE, DAEMON)

    def state(self) -> str:
        runs = Counter(run.status.value for run in self.instance.get_runs())
        failed = [
            run.run_id
            for run in self.instance.get_runs()
            if run.status is dg.DagsterRunStatus.FAILURE
        ]
        errors = [self.error_of(run_id) for run_id in failed]
        return f"{self.messages()} messages, runs {dict(runs)}, {errors}"

    def _watched(self) -> list[dg.DagsterRun]:
        return list(self.instance.get_runs(dg.RunsFilter(tags={WATCH_TAG: "bronze"})))


def _arrivals(run: dg.DagsterRun, receipts: Mapping[str, RunAsked]) -> list[tuple[str, str]]:
    """Return the (key, etag) of each object that the run was requested for."""
    if ARRIVAL_TAG in run.tags:
        return [(run.tags["dagster/partition"], receipts[run.tags[ARRIVAL_TAG]].etag)]
    return list(requested_files(run).items())


def keys_of(run: dg.DagsterRun) -> list[str]:
    """Return the keys of the objects that the run was requested for."""
    return (
        [run.tags["dagster/partition"]]
        if "dagster/partition" in run.tags
        else list(requested_files(run))
    )


@contextmanager
def arriving_on(profile: ProfileUnderTest, folder: Path, **settings: str) -> Iterator[Arriving]:
    """Run code location and daemon with ticking sensors."""
    assert profile.blobs is not None
    home = folder / "home"
    (home / "logs").mkdir(parents=True)
    template = Template((ROOT / INSTANCE_TEMPLATES[Profile.production]).read_text("utf-8"))
    configuration = template.substitute(LOG_FILE=home / "logs" / "platform.jsonl")
    soon = {
        "poll_interval_seconds: 60": "poll_interval_seconds: 5",
        "start_timeout_seconds: 600": "start_timeout_seconds: 45",
    }
    for (
        usual,
        here,
    ) in soon.items():  # how soon run monitoring looks for a run whose launch or process died
        assert usual in configuration
        configuration = configuration.replace(usual, here)
    with (
        own_queue(profile.blobs.connection_string, profile.blobs.prefix) as queue,
        BlobServiceClient.from_connection_string(profile.blobs.connection_string) as blobs,
        own_dagster(home / "dagster-production", configuration, {}) as own,
        patch.dict(
            "os.environ",
            {
                "GEO_PLATFORM_DAGSTER_POSTGRES_URL": profile.environment[
                    "GEO_PLATFORM_DAGSTER_POSTGRES_URL"
                ]
            },
        ),
    ):
        own.environment = {
            **profile.environment,
            "GEO_PLATFORM_HOME": str(home),
            "GEO_PLATFORM_ARRIVALS_QUEUE": queue.queue_name,
            "HOME": str(home),
            **settings,
        }
        with dg.DagsterInstance.from_config(str(own.folder)) as instance:
            own.start(CODE, DAEMON)
            yield Arriving(profile, home, own, queue, blobs, instance, profile.blobs.prefix)


def point(text: str, *, others: int = 0) -> bytes:
    """Return GeoJSON whose first row has `text`; more `others` make its run take longer."""
    names = [text, *map(str, range(others))]
    features = [
        {
            "type": "Feature",
            "properties": {"said": name},
            "geometry": {"type": "Point", "coordinates": [8 + number % 100 / 1000, 47]},
        }
        for number, name in enumerate(names)
    ]
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()
