"""One id from the request to the byte: all stored data and all requests of a run have the run's id.

With a real raster run and a real vector run.
"""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio

from deploy.local.services import Services
from geo_platform.ports import (
    ASSET_CONTAINER,
    ASSET_KEY,
    BRONZE,
    ITEM_RUN_ID,
    MESSAGES,
    SILVER,
    StoredObject,
)
from geo_platform.raster.run_tag import RUN_ID_ITEM
from geo_platform.settings import Profile, Settings
from geo_platform.storage.azure.account import blob_service
from geo_platform.storage.azure.blob import AzureBlobStore
from geo_platform.storage.postgres.connections import Database
from geo_platform.storage.postgres.postgis import PostgisFeatures
from tests.support.command import SAMPLES
from tests.support.features import numbered, target
from tests.support.in_process import DAGSTER_S_WARNINGS, commands
from tests.support.outputs import output
from tests.support.production import ProfileUnderTest
from tests.support.request_log import Request, RequestLog, log_before
from tests.support.servers import Blobs, Logins

pytestmark = DAGSTER_S_WARNINGS

SOURCES = {"raster": "san_francisco_landsat7.tif", "vector": "natural_earth_countries.shp.zip"}


@dataclass(frozen=True)
class Done:
    """A run that published, its requests to the blob service, and the new lines of PostgreSQL's
    log.
    """

    run_id: str
    answer: dict[str, Any]
    requests: list[Request]
    server_log: list[str]


@dataclass(frozen=True)
class Runs:
    """Both runs of a profile, and its stores."""

    profile: ProfileUnderTest
    home: Path
    by_kind: dict[str, Done]

    def item(self, kind: str) -> dict[str, Any]:
        found = self.profile.catalog(self.home).item(f"{kind}s", self.by_kind[kind].answer["item"])
        assert found is not None
        return found

    def stored(self, container: str) -> list[StoredObject]:
        return list(self.profile.objects(self.home).list(container))


@pytest.fixture(scope="module")
def runs(
    module_production: ProfileUnderTest,
    services: Services,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Runs]:
    home = tmp_path_factory.mktemp("one-id") / "home"
    assert module_production.blobs is not None
    given = module_production.blobs.connection_string
    with log_before(given).running() as network:
        seen = {
            **module_production.environment,
            "GEO_PLATFORM_BLOB_CONNECTION_STRING": network.connection_string(given),
        }
        profile = replace(module_production, environment=seen)
        with commands(profile, home) as give:
            by_kind = {kind: _ingested(give, kind, network, services) for kind in SOURCES}
        yield Runs(profile, home, by_kind)


def _ingested(give: Any, kind: str, network: RequestLog, services: Services) -> Done:
    log = Path(services.folder) / "postgres.log"
    before, written = len(network.since()), log.stat().st_size
    answer = give("ingest", SAMPLES / SOURCES[kind])
    assert answer["outcome"] == "published"
    return Done(
        answer["run_id"],
        answer,
        network.since(before),
        log.read_bytes()[written:].decode().splitlines(),
    )


@pytest.mark.parametrize("kind", SOURCES)
def test_every_request_of_a_run_to_azure_has_the_run_id(runs: Runs, kind: str) -> None:
    done = runs.by_kind[kind]
    first = next(at for at, request in enumerate(done.requests) if request.client_id == done.run_id)
    before, during = done.requests[:first], done.requests[first:]
    assert {request.client_id for request in during} == {done.run_id}
    assert {"GET", "HEAD", "PUT"} <= {request.method for request in during}
    assert {"bronze", "silver", "messages"} <= {
        request.target.split("/")[2].partition("-")[2] for request in during
    }
    # The upload, before there is a run: each request has its own id, and only the container of
    # arrivals is used.
    assert all("-bronze" in request.target for request in before)
    assert len({request.client_id for request in before}) == len(before) > 0


@pytest.mark.parametrize("kind", SOURCES)
def test_every_object_written_by_a_run_has_the_run_id(runs: Runs, kind: str) -> None:
    run_id = runs.by_kind[kind].run_id
    item = runs.item(kind)
    assert item["properties"][ITEM_RUN_ID] == run_id
    named = {
        asset[ASSET_KEY]
        for asset in item["assets"].values()
        if asset.get(ASSET_CONTAINER) == SILVER
    }
    written = {
        stored.reference.key: stored.metadata.get("run_id") for stored in runs.stored(SILVER)
    }
    assert named <= written.keys()
    assert set(written.values()) == {done.run_id for done in runs.by_kind.values()}
    assert {written[key] for key in named} == {run_id}
    messages = [
        stored
        for stored in runs.stored(MESSAGES)
        if stored.reference.key.endswith(f"/{run_id}.json")
    ]
    assert len(messages) == 4
    assert all(stored.metadata["run_id"] == run_id for stored in messages)


def test_the_item_has_key_and_etag_of_its_source(runs: Runs) -> None:
    arrived = {stored.reference.key: stored for stored in runs.stored(BRONZE)}
    assert all(set(stored.metadata) == {"origin"} for stored in arrived.values())
    for kind in SOURCES:
        properties = runs.item(kind)["properties"]
        assert (
            arrived[properties["geo_platform:source"]].reference.etag
            == properties["geo_platform:source_etag"]
        )


def test_the_cog_itself_has_the_run_id(runs: Runs) -> None:
    done = runs.by_kind["raster"]
    with output(runs.profile, runs.home, done.answer, ".tif") as path:
        content = path.read_bytes()
        with rasterio.open(path) as cog, rasterio.open(SAMPLES / SOURCES["raster"]) as source:
            assert cog.tags() == {**source.tags(), RUN_ID_ITEM: done.run_id}
    assert content.count(done.run_id.encode()) == 1


def test_table_provenance_and_pgstac_item_have_the_run_id(runs: Runs) -> None:
    done, logins = runs.by_kind["vector"], runs.profile.logins
    assert logins is not None
    with logins.reader.connect() as connection:
        found = connection.execute(
            "SELECT obj_description('geo.natural_earth_countries'::regclass)"
        ).fetchone()
        assert found is not None
        assert json.loads(found[0])["run_id"] == done.run_id
        stored = connection.execute(
            "SELECT content -> 'properties' ->> %s FROM pgstac.items", [ITEM_RUN_ID]
        ).fetchall()
        assert {run_id for (run_id,) in stored} == {each.run_id for each in runs.by_kind.values()}
    with logins.admin.connect() as connection:
        noted = connection.execute(
            "SELECT run_id, action, item_id FROM geo_platform.provenance ORDER BY entry"
        ).fetchall()
    assert noted == [
        (each.run_id, "publish", each.answer["item"]) for each in runs.by_kind.values()
    ]


@pytest.mark.parametrize("kind", SOURCES)
def test_every_database_connection_of_a_run_has_the_run_id_in_the_server_log(
    runs: Runs, kind: str
) -> None:
    done, logins = runs.by_kind[kind], runs.profile.logins
    assert logins is not None
    named = _application_names(done.server_log, logins.name)
    first = named.index(f"geo_platform {done.run_id}")
    assert set(named[first:]) == {f"geo_platform {done.run_id}"}
    assert set(named[:first]) <= {"geo_platform"}, (
        "the command's own look at the catalog, before there is a run"
    )


@pytest.mark.parametrize("kind", SOURCES)
def test_dagsters_connections_have_the_run_id_from_first_to_last_stage(
    runs: Runs, kind: str
) -> None:
    done = runs.by_kind[kind]
    url = runs.profile.environment["GEO_PLATFORM_DAGSTER_POSTGRES_URL"]
    named = _application_names(done.server_log, url.rpartition("/")[2].partition("?")[0])
    of_run = [at for at, name in enumerate(named) if name == f"geo_platform {done.run_id}"]
    assert of_run == list(range(of_run[0], of_run[-1] + 1))
    assert len(of_run) > len(named) / 2


def _application_names(server_log: list[str], database: str) -> list[str]:
    """Return the application name of each connection to the database, in log order."""
    granted = [
        line
        for line in server_log
        if "connection authorized:" in line and f" database={database} " in line
    ]
    return [
        line.partition(" application_name=")[2].partition(" SSL ")[0].strip() for line in granted
    ]


def test_pg_stat_activity_shows_the_run_id_of_every_connection_during_a_load(
    database: Logins, tmp_path: Path
) -> None:
    run_id, seen = str(uuid.uuid4()), set[tuple[str, str]]()
    asked = (
        "SELECT application_name, left(query, 4) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    def batches() -> Iterator[pa.RecordBatch]:
        with database.admin.connect(autocommit=True) as connection:
            for batch in numbered(40_000, rows=10_000):
                yield batch
                seen.update(connection.execute(asked).fetchall())

    loader = Database(database.loader.url, run_id)
    PostgisFeatures(loader, connections=2).load(target(run=run_id), batches(), scratch=tmp_path)
    assert {name for name, _ in seen} == {f"geo_platform {run_id}"}
    assert "COPY" in {query for _, query in seen}, "the connections were not read during the load"


def test_each_block_and_each_attempt_has_the_run_id(blobs: Blobs, tmp_path: Path) -> None:
    run_id, path = str(uuid.uuid4()), tmp_path / "large.tif"
    path.write_bytes(bytes(20 * 1024**2))
    with log_before(blobs.connection_string).running() as network:
        network.cut_at(b"comp=block&")
        network.cut_at(b"comp=blocklist")
        settings = Settings.model_validate(
            {"blob_connection_string": network.connection_string(blobs.connection_string)}
        )
        with blob_service(settings, run_id=run_id) as service:
            store = AzureBlobStore(service, container_prefix=blobs.prefix, scratch=tmp_path)
            store.put_file("silver", "large.tif", path, metadata={})
            with store.local_path("silver", "large.tif"):
                store.delete("silver", "large.tif")
            store.close()
        asked = network.since()
    assert {request.client_id for request in asked} == {run_id}
    assert sum("comp=block&" in request.target for request in asked) == 4, (
        "three blocks, and a repeated one"
    )
    assert sum("comp=blocklist" in request.target for request in asked) == 2
    assert sum(request.method == "GET" for request in asked) == 3, "downloaded in ranges"


def test_on_files_objects_cog_and_dataset_have_the_run_id(tmp_path: Path) -> None:
    profile, home = ProfileUnderTest(Profile.embedded, {}), tmp_path / "home"
    with commands(profile, home) as give:
        runs = {kind: give("ingest", SAMPLES / name) for kind, name in SOURCES.items()}
    objects = profile.objects(home)
    run_ids = {answer["run_id"] for answer in runs.values()}
    assert {
        stored.metadata["run_id"]
        for container in (SILVER, MESSAGES)
        for stored in objects.list(container)
    } == run_ids
    with output(profile, home, runs["raster"], ".tif") as path, rasterio.open(path) as cog:
        assert cog.tags()[RUN_ID_ITEM] == runs["raster"]["run_id"]
    with output(profile, home, runs["vector"], ".parquet") as path:
        assert (
            pq.read_schema(path).metadata[b"geo_platform:run_id"].decode()
            == runs["vector"]["run_id"]
        )
