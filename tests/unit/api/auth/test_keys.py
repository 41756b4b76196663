"""API keys: what is stored of them, what they grant, and when they expire."""

import json
import stat
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from geo_platform.api.auth.keys import KeyFile
from geo_platform.api.auth.principal import Principal, Scope
from geo_platform.errors import Conflict, ParameterInvalid, StoreDenied, Unauthenticated


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "api" / "keys.json"


def test_a_key_grants_what_it_was_created_for(path: Path) -> None:
    key = KeyFile(path).create(
        "field-team",
        Scope.submitter,
        containers=("bronze",),
        datasets=("flood_*",),
        collections=("flood",),
    )
    assert KeyFile(path).principal_of(key) == Principal(
        "key:field-team", Scope.submitter, ("bronze",), ("flood_*",), ("flood",)
    )


def test_only_the_hash_of_a_key_is_stored_in_a_file_for_its_owner(path: Path) -> None:
    key = KeyFile(path).create("a", Scope.reader)
    secret = key.split("_", 2)[2]
    everything = b"".join(file.read_bytes() for file in path.parent.rglob("*") if file.is_file())
    assert secret.encode() not in everything
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert set(json.loads(path.read_bytes())["keys"][0]) == {
        *(
            "id",
            "name",
            "sha256",
            "scope",
            "containers",
            "datasets",
            "collections",
            "created_at_utc",
            "expires_at_utc",
        )
    }


def test_a_key_of_a_file_from_before_collections_is_valid_for_all(path: Path) -> None:
    key = KeyFile(path).create("a", Scope.reader, datasets=("flood_*",))
    stored = json.loads(path.read_bytes())
    del stored["keys"][0]["collections"]
    path.write_text(json.dumps(stored))
    assert KeyFile(path).principal_of(key) == Principal("key:a", Scope.reader, (), ("flood_*",))


@pytest.mark.parametrize("spoil", ["last", "id", "empty", "longer", "other"])
def test_every_wrong_key_is_refused_with_the_same_message(path: Path, spoil: str) -> None:
    keys = KeyFile(path)
    key, other = keys.create("a", Scope.reader), keys.create("b", Scope.operator)
    wrong = {
        "last": key[:-1] + ("A" if key[-1] != "A" else "B"),
        "id": f"gp_{'0' * 12}_{key[-43:]}",
        "empty": "gp_",
        "longer": key + "A",
        "other": other[:16] + key[16:],
    }[spoil]
    with pytest.raises(Unauthenticated) as refused:
        keys.principal_of(wrong)
    assert refused.value.message == "There is no such API key."


def test_a_revoked_key_is_refused_at_once_by_a_running_process(path: Path) -> None:
    serving, key = KeyFile(path), KeyFile(path).create("a", Scope.reader)
    assert serving.principal_of(key).subject == "key:a"
    KeyFile(path).revoke("a")
    with pytest.raises(Unauthenticated):
        serving.principal_of(key)


def test_an_expired_key_is_refused_and_is_no_credential(path: Path) -> None:
    keys = KeyFile(path)
    key = keys.create("a", Scope.reader, expires_in=timedelta(seconds=-1))
    assert keys.names() == ()
    with pytest.raises(Unauthenticated) as refused:
        keys.principal_of(key)
    assert refused.value.details["reason"] == "key a: expired"


def test_a_name_is_valid_and_used_once(path: Path) -> None:
    keys = KeyFile(path)
    keys.create("a", Scope.reader)
    with pytest.raises(Conflict):
        keys.create("a", Scope.reader)
    for name in ("", "-a", "a b", "a\nb", "ä", "x" * 65):
        with pytest.raises(ParameterInvalid):
            keys.create(name, Scope.reader)
    with pytest.raises(ParameterInvalid):
        keys.revoke("nobody")


def test_keys_created_at_the_same_time_are_all_stored(path: Path) -> None:
    threads = [
        threading.Thread(target=KeyFile(path).create, args=(f"k{number}", Scope.reader))
        for number in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(KeyFile(path).names()) == sorted(f"k{number}" for number in range(12))


def test_a_damaged_or_writable_file_grants_no_access(path: Path) -> None:
    keys = KeyFile(path)
    key = keys.create("a", Scope.reader)
    path.chmod(0o666)
    with pytest.raises(StoreDenied, match="Other users may write"):
        keys.principal_of(key)
    path.chmod(0o600)
    path.write_text('{"version": 1, "keys": [{"name": "a"}]}')
    with pytest.raises(StoreDenied, match="damaged"):
        keys.principal_of(key)
    path.unlink()
    with pytest.raises(Unauthenticated):
        keys.principal_of(key)
