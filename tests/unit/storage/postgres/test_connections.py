"""Database URLs: those that are parsed as intended, and those that would expose the password."""

import os

import pytest
from pydantic import SecretStr

from geo_platform.errors import StoreDenied
from geo_platform.settings import Settings
from geo_platform.storage.postgres.connections import database_of, default_application_name, is_url

GOOD = [
    "postgresql://u:p@h:5432/db",
    "postgres://u@h/db",
    "postgresql:///db?host=/var/run/postgresql",
    "postgresql://u:p%40%2F%3A%3F%25@h/db",
    "postgresql://u:a:b@h/db",
    "postgresql://h1:5432,h2:5433/db?target_session_attrs=any",
    "postgresql://u:p@[::1]:5432/db",
    "postgresql://h/db?user=u@tenant&sslmode=require",
    "postgresql://",
]
BAD = [
    "postgresql://u:se@cret@h/db",
    "postgresql://u:se/cret@h/db",
    "postgresql://u:se?cret@h/db",
    "postgresql://u:se%cret@h/db",
    "postgresql://u:secret/db",
    "host=h password=secret",
    "secret",
    "",
]


@pytest.mark.parametrize("url", GOOD)
def test_a_url_that_is_parsed_as_intended_is_accepted(url: str) -> None:
    assert is_url(SecretStr(url))


@pytest.mark.parametrize("url", BAD)
def test_an_ambiguous_url_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(StoreDenied) as refused:
        database_of(Settings.model_validate({"postgres_url": url}))
    error = refused.value
    assert "cret" not in f"{error} {error.details} {error.__cause__} {error.__context__}"


def test_connections_opened_during_a_run_carry_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PGAPPNAME", raising=False)
    with default_application_name("r1"):
        assert os.environ["PGAPPNAME"] == "geo_platform r1"
    assert "PGAPPNAME" not in os.environ
    monkeypatch.setenv("PGAPPNAME", "worker")
    with pytest.raises(ZeroDivisionError), default_application_name("r2"):
        raise ZeroDivisionError
    assert os.environ["PGAPPNAME"] == "worker"
