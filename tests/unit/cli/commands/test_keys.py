"""`geo-platform keys` from the command line."""

from pathlib import Path

from geo_platform.api.auth.keys import KeyFile
from tests.support.command import geo_platform


def test_a_key_is_printed_once_listed_without_its_secret_and_revoked(tmp_path: Path) -> None:
    limits = (
        "--container",
        "bronze",
        "--dataset",
        "flood_*",
        "--collection",
        "dem",
        "--expires-days",
        "0.5",
    )
    made = geo_platform(
        "keys", "create", "field-team", "--scope", "submitter", *limits, home=tmp_path
    )
    assert made.exit_code == 0
    (key,) = made.stdout.splitlines()
    assert KeyFile(tmp_path / "api" / "keys.json").principal_of(key).datasets == ("flood_*",)
    listed = geo_platform("keys", "list", home=tmp_path).stdout
    assert "field-team  submitter  created " in listed
    assert "only container bronze, dataset flood_*, collection dem" in listed
    assert key.split("_", 2)[2] not in listed
    assert (
        geo_platform("keys", "create", "field-team", "--scope", "reader", home=tmp_path).exit_code
        == 1
    )
    assert geo_platform("keys", "revoke", "field-team", home=tmp_path).exit_code == 0
    assert geo_platform("keys", "list", home=tmp_path).stdout == ""
    assert geo_platform("keys", "revoke", "field-team", home=tmp_path).exit_code == 1
