"""The time of acquisition, and how it is known."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_platform.catalog.acquisition_time import (
    AcquisitionTime,
    acquisition_time,
    from_file_name,
    rfc3339,
)

MODIFIED = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "start", "end", "pattern"),
    [
        (
            "LC08_L1TP_044034_20200110_20200113_01_T1.tif",
            "2020-01-10T00:00:00Z",
            "2020-01-10T23:59:59Z",
            "landsat",
        ),
        (
            "LC80440342020010LGN00.tif",
            "2020-01-10T00:00:00Z",
            "2020-01-10T23:59:59Z",
            "landsat_scene",
        ),
        (
            "S2A_MSIL2A_20200101T101411_N0213_R022_T32TQM.jp2",
            "2020-01-01T10:14:11Z",
            None,
            "sentinel",
        ),
        (
            "S1A_IW_GRDH_1SDV_20200229T050000_20200229T050025.tif",
            "2020-02-29T05:00:00Z",
            None,
            "sentinel",
        ),
        ("flood_2020-01-31.gpkg", "2020-01-31T00:00:00Z", "2020-01-31T23:59:59Z", "year_month_day"),
        (
            "flood_2020_01_31_v2.gpkg",
            "2020-01-31T00:00:00Z",
            "2020-01-31T23:59:59Z",
            "year_month_day",
        ),
        ("20200131_flood.tif", "2020-01-31T00:00:00Z", "2020-01-31T23:59:59Z", "yyyymmdd"),
        ("ndvi-2020-02.tif", "2020-02-01T00:00:00Z", "2020-02-29T23:59:59Z", "year_month"),
        ("99999999_20200131.tif", "2020-01-31T00:00:00Z", "2020-01-31T23:59:59Z", "yyyymmdd"),
    ],
)
def test_dates_in_file_names(name: str, start: str, end: str | None, pattern: str) -> None:
    found = from_file_name(name)
    assert found is not None
    assert (rfc3339(found.start_utc), rfc3339(found.end_utc) if found.end_utc else None) == (
        start,
        end,
    )
    assert found.source == f"file_name:{pattern}"


@pytest.mark.parametrize(
    "name",
    [
        "scene.tif",
        "20201331.tif",
        "2020-13.tif",
        "120200131.tif",
        "tile_2048.tif",
        "20200230.tif",
        "18500101.tif",
        "LC80440342020000LGN00",
    ],
)
def test_digits_that_are_not_a_date(name: str) -> None:
    assert from_file_name(name) is None


def test_user_then_tag_then_name_then_store() -> None:
    user = datetime(2021, 6, 30, 12, tzinfo=UTC) + timedelta(microseconds=5)
    tag, names = ("2019-01-01T00:00:00Z", "TIFFTAG_DATETIME"), ["scene.zip", "scene_20200131.tif"]
    assert acquisition_time(user, tag, names, last_modified_utc=MODIFIED) == AcquisitionTime(
        user, None, "user"
    )
    assert (
        acquisition_time(None, tag, names, last_modified_utc=MODIFIED).source
        == "tag:TIFFTAG_DATETIME"
    )
    assert (
        acquisition_time(None, (None, None), names, last_modified_utc=MODIFIED).source
        == "file_name:yyyymmdd"
    )
    assert acquisition_time(
        None, ("yesterday", "X"), ["scene.tif"], last_modified_utc=MODIFIED
    ) == AcquisitionTime(MODIFIED, None, "last_modified")


def test_a_span_has_its_start_as_datetime_too() -> None:
    found = from_file_name("2020-01.tif")
    assert found is not None
    assert found.properties() == {
        "datetime": "2020-01-01T00:00:00Z",
        "start_datetime": "2020-01-01T00:00:00Z",
        "end_datetime": "2020-01-31T23:59:59Z",
    }


@given(
    st.dates(date(1900, 1, 1), date(2099, 12, 31)),
    st.sampled_from(["%Y%m%d", "%Y-%m-%d", "%Y_%m_%d"]),
    st.sampled_from(["", "a_", "tile9x-"]),
)
def test_every_date_in_a_name_is_found(day: date, form: str, before: str) -> None:
    found = from_file_name(f"{before}{day.strftime(form)}.tif")
    assert found is not None
    assert found.start_utc.date() == day


@given(st.text(max_size=60))
def test_any_name_is_accepted(name: str) -> None:
    found = from_file_name(name)
    assert found is None or found.start_utc.tzinfo is UTC
