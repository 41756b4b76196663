"""Other clients read a loaded table: ogrinfo, ogr2ogr and geopandas agree on its content."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pytest
import shapely

from geo_platform.chains.vector import ARRIVAL, FEATURES, PROFILE
from geo_platform.contracts.message import TableReference
from geo_platform.contracts.vector import FeaturesLoaded
from geo_platform.options import ArrivalOptions
from geo_platform.source.arrival import receive
from geo_platform.storage.local.folder import FolderStore
from geo_platform.storage.postgres.postgis import PostgisFeatures
from geo_platform.vector.load import load_features
from geo_platform.vector.options import VectorFeaturesOptions, VectorProfileOptions
from geo_platform.vector.profile import profile_object
from tests.support.features import ask, frame_of, publish
from tests.support.servers import Logins
from tests.support.skipping import cannot_run

SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "natural_earth_countries.shp.zip"


@dataclass
class Chain:
    """Load a file and publish its table."""

    database: Logins
    folder: Path

    def load(self, path: Path, *, force: bool = False, **options: object) -> FeaturesLoaded:
        objects, scratch = FolderStore(self.folder / "store"), self.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        if not list(objects.list("bronze", path.name)):
            objects.put_file("bronze", path.name, path, metadata={})
        arrived = receive(
            objects, "bronze", path.name, ArrivalOptions(force=force), recipe=ARRIVAL.recipe
        )
        profiled = profile_object(
            arrived, VectorProfileOptions(), objects, recipe=PROFILE.recipe, scratch=scratch
        )
        store = PostgisFeatures(self.database.loader)
        chosen = VectorFeaturesOptions.model_validate(options)
        loaded = load_features(
            profiled,
            chosen,
            objects,
            store,
            recipe=FEATURES.recipe,
            run_id="0a1b2c3d",
            scratch=scratch,
        )
        if not loaded.was_reused:
            publish(self.database.loader, table_of(loaded))
        return loaded


@pytest.fixture
def chain(database: Logins, tmp_path: Path) -> Chain:
    return Chain(database, tmp_path)


def table_of(loaded: FeaturesLoaded) -> TableReference:
    (dataset,) = loaded.datasets
    assert dataset.table is not None
    return dataset.table


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        cannot_run(f"{name} is not on this machine; on Debian: apt-get install gdal-bin")
    return found


def test_ogrinfo_and_geopandas_see_what_was_loaded(chain: Chain, database: Logins) -> None:
    loaded = chain.load(SAMPLE)
    table = table_of(loaded)
    name = f"{table.schema_name}.{table.table_name}"
    expected = pyogrio.read_dataframe(f"/vsizip/{SAMPLE}")
    assert loaded.inserted == len(expected) == 177

    frame = frame_of(database.reader, name)
    assert (len(frame), frame.crs.to_epsg()) == (177, 4326)
    assert tuple(frame.total_bounds) == loaded.bounds.xyxy
    by_row = frame.set_index("fid").sort_index()
    assert by_row["pop_est"].tolist() == expected["pop_est"].tolist()
    assert by_row["name"].tolist() == expected["name"].tolist()
    valid = shapely.make_valid(expected.geometry.to_numpy())
    assert shapely.equals(
        shapely.normalize(by_row.geometry.to_numpy()), shapely.normalize(valid)
    ).all()

    url = database.reader.url.get_secret_value()
    info = subprocess.run(
        [tool("ogrinfo"), "-so", f"PG:{url}", name], capture_output=True, text=True, check=True
    ).stdout
    assert "Feature Count: 177" in info
    assert "Geometry: Multi Polygon" in info
    assert "FID Column = fid" in info
    assert 'ID["EPSG",4326]' in info
    extent = [
        float(number)
        for number in re.findall(r"-?\d+\.\d+", info.partition("Extent:")[2].splitlines()[0])
    ]
    assert np.allclose(extent, loaded.bounds.xyxy, atol=1e-6)


def test_ogr2ogr_writes_the_table_out_again(chain: Chain, database: Logins, tmp_path: Path) -> None:
    loaded = chain.load(SAMPLE, target_crs="EPSG:3857", table_name="Countries")
    out = tmp_path / "out.gpkg"
    source = f"PG:{database.reader.url.get_secret_value()}"
    subprocess.run(
        [tool("ogr2ogr"), "-f", "GPKG", str(out), source, "geo.countries"],
        capture_output=True,
        check=True,
    )
    frame = geopandas.read_file(out)
    assert (len(frame), frame.crs.to_epsg()) == (loaded.inserted, 3857)
    assert np.allclose(frame.total_bounds, loaded.bounds.xyxy, rtol=1e-12)


def test_a_loaded_table_is_reused_while_it_exists(chain: Chain, database: Logins) -> None:
    first = chain.load(SAMPLE)
    assert first.datasets[0].table is not None
    assert chain.load(SAMPLE).was_reused
    with database.admin.connect() as connection:
        connection.execute("DROP TABLE geo.natural_earth_countries")
    again = chain.load(SAMPLE)
    assert not again.was_reused
    assert ask(database.reader, "SELECT count(*) FROM geo.natural_earth_countries") == [(177,)]


def test_column_comments_have_the_original_names(
    chain: Chain, database: Logins, tmp_path: Path
) -> None:
    path = tmp_path / "names.geojson"
    properties = {"Größe": 1.5, "xmin": 1, "tags": {"a": [1]}, "fid": 7}
    feature = {
        "type": "Feature",
        "properties": properties,
        "geometry": {"type": "Point", "coordinates": [8, 47]},
    }
    path.write_text(
        json.dumps({"type": "FeatureCollection", "features": [feature]}), encoding="utf-8"
    )
    chain.load(path)
    rows = ask(
        database.reader,
        "SELECT attname, col_description(attrelid, attnum), format_type(atttypid, NULL) "
        "FROM pg_attribute"
        " WHERE attrelid = 'geo.names'::regclass AND attnum > 0 ORDER BY attnum",
    )
    assert rows == [
        ("fid_2", "Row of this table, in the order of the source", "bigint"),
        ("grosse", "Größe in the source, renamed: letters outside ASCII", "double precision"),
        ("xmin_", "xmin in the source, renamed: reserved word", "integer"),
        ("tags", "tags in the source", "jsonb"),
        ("fid", "fid in the source", "integer"),
        ("geometry", "MultiPoint, xy, in EPSG:4326", "geometry"),
    ]
