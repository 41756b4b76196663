"""Uploads in the embedded profile: whole or not at all, under a name of one's own, never over another."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from geo_platform.api.auth.principal import Principal, Scope
from geo_platform.api.jobs.uploads import checked_file_name, upload_key, upload_prefix
from geo_platform.errors import ParameterInvalid
from tests.support.authenticated import ProtectedApi, protected_api

MOST = 3_000_000


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProtectedApi]:
    with protected_api(
        tmp_path_factory.mktemp("uploads") / "home", api_upload_max_bytes=MOST
    ) as one:
        yield one


def stored(door: ProtectedApi) -> dict[str, bytes]:
    bronze = door.settings.store_dir / "bronze"
    return {
        str(path.relative_to(bronze)): path.read_bytes()
        for path in bronze.rglob("*")
        if path.is_file()
    }


def offered(door: ProtectedApi, key: str = "submitter", **asked: Any) -> dict[str, Any]:
    answer = door.ask("POST", "/api/uploads", key, json=asked)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_a_file_is_sent_where_the_answer_says_and_lies_where_it_is_to_be_submitted_from(
    door: ProtectedApi,
) -> None:
    offer = offered(door, file_name="dem.tif", size_bytes=6)
    assert (offer["method"], offer["needs_credential"], offer["expires_at_utc"]) == (
        "PUT",
        True,
        None,
    )
    sent = door.ask("PUT", offer["url"], "submitter", content=b"raster")
    assert (sent.status_code, sent.json()["size_bytes"]) == (201, 6)
    assert sent.json()["submit"] == offer["submit"]
    assert offer["submit"]["container_name"] == "bronze"
    assert stored(door)[offer["submit"]["blob_name"]] == b"raster"


def test_a_name_that_was_sent_is_never_written_over(door: ProtectedApi) -> None:
    offer = offered(door, file_name="once.tif")
    assert door.ask("PUT", offer["url"], "submitter", content=b"first").status_code == 201
    again = door.ask("PUT", offer["url"], "submitter", content=b"second")
    assert (again.status_code, again.json()["code"]) == (409, "CONFLICT")
    assert stored(door)[offer["submit"]["blob_name"]] == b"first"


def test_files_that_belong_together_lie_together(door: ProtectedApi) -> None:
    first = offered(door, file_name="a.shp")
    second = offered(door, file_name="a.dbf", upload_id=first["upload_id"])
    folders = {offer["submit"]["blob_name"].rpartition("/")[0] for offer in (first, second)}
    assert len(folders) == 1
    assert offered(door, file_name="a.shp")["upload_id"] != first["upload_id"]


def test_two_principals_never_share_a_folder_even_with_each_other_s_upload_id(
    door: ProtectedApi,
) -> None:
    offer = offered(door, file_name="mine.tif")
    door.ask("PUT", offer["url"], "submitter", content=b"mine")
    other = door.ask("PUT", offer["url"], "operator", content=b"theirs")
    assert other.json()["submit"]["blob_name"] != offer["submit"]["blob_name"]
    assert stored(door)[offer["submit"]["blob_name"]] == b"mine"
    names = ("key:a-b", "key:a_b", "oid:a-b", "key:A-B", "key:ä", "key:../a")
    prefixes = {upload_prefix(Principal(name, Scope.submitter)) for name in names}
    assert len(prefixes) == len(names)
    assert all(prefix.count("/") == 2 and ".." not in prefix for prefix in prefixes)


def test_who_may_only_read_or_may_not_use_the_container_can_send_nothing(
    door: ProtectedApi,
) -> None:
    before = stored(door)
    for key in ("reader", "limited"):
        assert door.ask("POST", "/api/uploads", key, json={"file_name": "x.tif"}).status_code == 403
        assert (
            door.ask("PUT", f"/api/uploads/{'0' * 16}/x.tif", key, content=b"x").status_code == 403
        )
    assert stored(door) == before


def test_a_file_that_is_too_long_is_refused_before_and_while_it_is_sent_and_leaves_nothing(
    door: ProtectedApi,
) -> None:
    before = stored(door)
    assert (
        door.ask(
            "POST", "/api/uploads", "submitter", json={"file_name": "x.tif", "size_bytes": MOST + 1}
        ).status_code
        == 413
    )
    url = offered(door, file_name="x.tif")["url"]
    assert door.ask("PUT", url, "submitter", content=b"x" * (MOST + 1)).status_code == 413
    unsaid = door.ask("PUT", url, "submitter", content=iter([b"x" * 1_000_000] * 4))
    assert (unsaid.status_code, unsaid.json()["code"]) == (413, "BODY_TOO_LARGE")
    assert stored(door) == before
    assert left_in_scratch(door) == []
    assert (
        door.ask("PUT", url, "submitter", content=iter([b"x" * 1_000_000] * 3)).status_code == 201
    )


def test_an_upload_that_breaks_off_or_is_empty_leaves_nothing(door: ProtectedApi) -> None:
    before, url = stored(door), offered(door, file_name="half.tif")["url"]

    def breaking() -> Iterator[bytes]:
        yield b"x" * 100_000
        raise RuntimeError("the client goes away")

    with pytest.raises(RuntimeError, match="goes away"):
        door.ask("PUT", url, "submitter", content=breaking())
    assert door.ask("PUT", url, "submitter", content=b"").status_code == 422
    assert stored(door) == before
    assert door.ask("PUT", url, "submitter", content=b"whole").status_code == 201
    assert left_in_scratch(door) == []


def left_in_scratch(door: ProtectedApi) -> list[Path]:
    return [path for path in door.settings.scratch_dir.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "asked",
    [
        *(
            {"file_name": name}
            for name in (
                "../x.tif",
                "a/b.tif",
                "/etc/passwd",
                "..",
                ".",
                "",
                ".hidden",
                "a\\b",
                "a\nb",
                "a\x00b",
                " a",
                "a.",
                "x" * 256,
            )
        ),
        *({"file_name": name} for name in ("C:\\x", "a\u202eb", "\ud800", 7, None, ["x"])),
        {},
        {"file_name": "x.tif", "size_bytes": 0},
        {"file_name": "x.tif", "size_bytes": True},
        {"file_name": "x.tif", "size_bytes": "9"},
        {"file_name": "x.tif", "upload_id": "../../../../etc"},
        {"file_name": "x.tif", "upload_id": "0" * 16 + "\n"},
        {"file_name": "x.tif", "container_name": "silver"},
        {"file_name": "x.tif", "url": "http://evil.example"},
    ],
    ids=lambda asked: ascii(asked)[:40],
)
def test_a_name_that_could_mean_another_place_and_what_nobody_asked_for_are_refused(
    door: ProtectedApi, asked: dict[str, Any]
) -> None:

    answer = door.ask(
        "POST",
        "/api/uploads",
        "submitter",
        content=json.dumps(asked),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "%2e%2e%2fx",
        "..%2f..%2f..%2fescaped.tif",
        "%2fetc%2fpasswd",
        ".hidden",
        "a%5cb",
        "a%00b",
        "%2e%2e",
        "a%0d%0ab",
    ],
)
def test_a_path_that_climbs_writes_nothing(door: ProtectedApi, path: str) -> None:
    before = stored(door)
    for folder in ("0" * 16, "..", "%2e%2e"):
        answer = door.ask("PUT", f"/api/uploads/{folder}/{path}", "submitter", content=b"x")
        assert answer.status_code in (404, 405, 422)
    assert stored(door) == before
    assert not list(door.settings.home_dir.parent.rglob("escaped*"))


def test_what_looks_the_same_is_the_same_name() -> None:
    composed, decomposed = "h\u00f6he.tif", "ho\u0308he.tif"
    assert composed != decomposed
    assert checked_file_name(composed) == checked_file_name(decomposed) == composed
    with pytest.raises(ParameterInvalid):
        upload_key(Principal("key:a", Scope.submitter), "0" * 16, "x.")
