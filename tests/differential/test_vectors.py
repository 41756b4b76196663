"""Publish generated vector files and compare with what other software reads in them."""

import tempfile
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geo_platform.storage.local.folder import FolderStore
from tests.differential.files import FORMATS, Format
from tests.differential.generated import Table, tables
from tests.unit.vector.harness import Platform

_FILES = st.sampled_from(sorted(FORMATS)).flatmap(
    lambda extension: st.tuples(st.just(extension), tables(FORMATS[extension].kinds))
)
_SETTINGS = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)


@given(file=_FILES)
@settings(_SETTINGS, max_examples=100, derandomize=True)
def test_values_and_places_of_100_files(file: tuple[str, Table]) -> None:
    _check(*file)


@pytest.mark.slow
@given(file=_FILES)
@settings(_SETTINGS, max_examples=2000)
def test_values_and_places_of_2000_files(file: tuple[str, Table]) -> None:
    _check(*file)


def _check(extension: str, table: Table) -> None:
    form = FORMATS[extension]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        source = root / "in" / f"table{extension}"
        source.parent.mkdir()
        form.write(table, source)
        expected = form.read(source)
        published = _publish(form, source, root)
    assert len(published) == len(expected) == len(table.geometries)
    for attributes, geometry in expected:
        row, place = published[int(attributes["key"])]
        assert shapely.equals_exact(
            shapely.normalize(_parts(place)), shapely.normalize(_parts(geometry)), 1e-9
        ), (place, geometry)
        for name, value in attributes.items():
            assert _is_same(value, row[name]), (name, value, row[name])


def _publish(form: Format, source: Path, root: Path) -> dict[int, tuple[dict[str, Any], Any]]:
    """Return the published rows by key: attributes by their names in the source, and geometry."""
    (root / "scratch").mkdir()
    platform = Platform(FolderStore(root / "store"), root / "scratch")
    sidecars = [part for part in source.parent.glob(f"{source.stem}.*") if part != source]
    loaded = platform.load(platform.profile(source, *sidecars, **form.options))
    assert (loaded.read, loaded.rejected) == (loaded.inserted, 0)
    names = {field.published: field.source for field in loaded.fields}
    rows = platform.table(loaded).to_pylist()
    return {
        int(row["key"]): (
            {names[name]: value for name, value in row.items() if name in names},
            shapely.from_wkb(row["geometry"]),
        )
        for row in rows
    }


def _parts(geometry: Any) -> Any:
    """Return the geometry as a collection: a format may store one part as a multi geometry."""
    return shapely.GeometryCollection(list(shapely.get_parts(geometry)))


def _is_same(expected: Any, published: Any) -> bool:
    """Return whether the published value is the value, digit for digit; its type may differ."""
    if expected is None or published is None:
        return expected is published
    if isinstance(expected, datetime) or isinstance(published, datetime):
        return _moment(expected) == _moment(published)
    if isinstance(expected, date) or isinstance(published, date):
        return str(expected) == str(published)
    if isinstance(expected, str) and isinstance(published, str):
        return expected == published
    if isinstance(expected, str) and isinstance(published, float):
        # A text format: what is written as an integer must keep all digits.
        is_integer = expected.lstrip("+-").isdigit()
        number = _number(expected)
        return number is not None and (
            number == Decimal(published) if is_integer else float(number) == published
        )
    if isinstance(expected, bool) or isinstance(published, bool):
        return str(expected).lower() in (str(published).lower(), str(int(published)))
    return _number(str(expected)) == _number(str(published))


def _number(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def _moment(value: Any) -> Any:
    return datetime.fromisoformat(value) if isinstance(value, str) else value
