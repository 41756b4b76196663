"""Uploads in the embedded profile: whole or not at all, never over another file."""

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
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProtectedApi]:
    with protected_api(
        tmp_path_factory.mktemp("uploads") / "home", api_upload_max_bytes=MOST
    ) as one:
        yield one


def stored(api: ProtectedApi) -> dict[str, bytes]:
    bronze = api.settings.store_dir / "bronze"
    return {
        str(path.relative_to(bronze)): path.read_bytes()
        for path in bronze.rglob("*")
        if path.is_file()
    }


def request_upload(api: ProtectedApi, key: str = "submitter", **asked: Any) -> dict[str, Any]:
    answer = api.ask("POST", "/api/uploads", key, json=asked)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_a_file_is_sent_to_the_given_url_and_stored_where_submit_names_it(
    api: ProtectedApi,
) -> None:
    offer = request_upload(api, file_name="dem.tif", size_bytes=6)
    assert (offer["method"], offer["needs_credential"], offer["expires_at_utc"]) == (
        "PUT",
        True,
        None,
    )
    sent = api.ask("PUT", offer["url"], "submitter", content=b"raster")
    assert (sent.status_code, sent.json()["size_bytes"]) == (201, 6)
    assert sent.json()["submit"] == offer["submit"]
    assert offer["submit"]["container_name"] == "bronze"
    assert stored(api)[offer["submit"]["blob_name"]] == b"raster"


def test_an_uploaded_file_is_never_overwritten(api: ProtectedApi) -> None:
    offer = request_upload(api, file_name="once.tif")
    assert api.ask("PUT", offer["url"], "submitter", content=b"first").status_code == 201
    again = api.ask("PUT", offer["url"], "submitter", content=b"second")
    assert (again.status_code, again.json()["code"]) == (409, "CONFLICT")
    assert stored(api)[offer["submit"]["blob_name"]] == b"first"


def test_files_of_one_upload_share_a_folder(api: ProtectedApi) -> None:
    first = request_upload(api, file_name="a.shp")
    second = request_upload(api, file_name="a.dbf", upload_id=first["upload_id"])
    folders = {offer["submit"]["blob_name"].rpartition("/")[0] for offer in (first, second)}
    assert len(folders) == 1
    assert request_upload(api, file_name="a.shp")["upload_id"] != first["upload_id"]


def test_two_principals_never_share_a_folder_even_with_one_upload_id(
    api: ProtectedApi,
) -> None:
    offer = request_upload(api, file_name="mine.tif")
    api.ask("PUT", offer["url"], "submitter", content=b"mine")
    other = api.ask("PUT", offer["url"], "operator", content=b"theirs")
    assert other.json()["submit"]["blob_name"] != offer["submit"]["blob_name"]
    assert stored(api)[offer["submit"]["blob_name"]] == b"mine"
    names = ("key:a-b", "key:a_b", "oid:a-b", "key:A-B", "key:ä", "key:../a")
    prefixes = {upload_prefix(Principal(name, Scope.submitter)) for name in names}
    assert len(prefixes) == len(names)
    assert all(prefix.count("/") == 2 and ".." not in prefix for prefix in prefixes)


def test_readers_and_principals_without_the_container_cannot_upload(
    api: ProtectedApi,
) -> None:
    before = stored(api)
    for key in ("reader", "limited"):
        assert api.ask("POST", "/api/uploads", key, json={"file_name": "x.tif"}).status_code == 403
        assert (
            api.ask("PUT", f"/api/uploads/{'0' * 16}/x.tif", key, content=b"x").status_code == 403
        )
    assert stored(api) == before


def test_a_file_over_the_limit_is_refused_and_leaves_nothing(
    api: ProtectedApi,
) -> None:
    before = stored(api)
    assert (
        api.ask(
            "POST", "/api/uploads", "submitter", json={"file_name": "x.tif", "size_bytes": MOST + 1}
        ).status_code
        == 413
    )
    url = request_upload(api, file_name="x.tif")["url"]
    assert api.ask("PUT", url, "submitter", content=b"x" * (MOST + 1)).status_code == 413
    without_length = api.ask("PUT", url, "submitter", content=iter([b"x" * 1_000_000] * 4))
    assert (without_length.status_code, without_length.json()["code"]) == (413, "BODY_TOO_LARGE")
    assert stored(api) == before
    assert left_in_scratch(api) == []
    assert api.ask("PUT", url, "submitter", content=iter([b"x" * 1_000_000] * 3)).status_code == 201


def test_an_aborted_or_empty_upload_leaves_nothing(api: ProtectedApi) -> None:
    before, url = stored(api), request_upload(api, file_name="half.tif")["url"]

    def broken_off() -> Iterator[bytes]:
        yield b"x" * 100_000
        raise RuntimeError("the client goes away")

    with pytest.raises(RuntimeError, match="goes away"):
        api.ask("PUT", url, "submitter", content=broken_off())
    assert api.ask("PUT", url, "submitter", content=b"").status_code == 422
    assert stored(api) == before
    assert api.ask("PUT", url, "submitter", content=b"whole").status_code == 201
    assert left_in_scratch(api) == []


def left_in_scratch(api: ProtectedApi) -> list[Path]:
    return [path for path in api.settings.scratch_dir.rglob("*") if path.is_file()]


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
def test_an_unsafe_name_or_unknown_field_is_refused(
    api: ProtectedApi, asked: dict[str, Any]
) -> None:

    answer = api.ask(
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
def test_a_path_that_escapes_the_folder_writes_nothing(api: ProtectedApi, path: str) -> None:
    before = stored(api)
    for folder in ("0" * 16, "..", "%2e%2e"):
        answer = api.ask("PUT", f"/api/uploads/{folder}/{path}", "submitter", content=b"x")
        assert answer.status_code in (404, 405, 422)
    assert stored(api) == before
    assert not list(api.settings.home_dir.parent.rglob("escaped*"))


def test_names_are_normalised_to_composed_characters() -> None:
    composed, decomposed = "h\u00f6he.tif", "ho\u0308he.tif"
    assert composed != decomposed
    assert checked_file_name(composed) == checked_file_name(decomposed) == composed
    with pytest.raises(ParameterInvalid):
        upload_key(Principal("key:a", Scope.submitter), "0" * 16, "x.")
