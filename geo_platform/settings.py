"""The only reader of the environment. Read when called, never at import.

What belongs here: where things are and what they may cost. What stays out: the parameters of a request (`options.py`).
"""

from enum import StrEnum
from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from geo_platform.application_root import find_application_root, is_in_the_wheel


class Profile(StrEnum):
    """Which stores: files of one machine, or Azure Blob, PostGIS and pgSTAC."""

    embedded = "embedded"
    production = "production"


class Settings(BaseSettings):
    """Every setting has a default that works on one machine; each is set by GEO_PLATFORM_<NAME>, but for two that have names elsewhere.

    Secrets are `SecretStr`: printing or logging them shows stars. They are opened where a connection is made.
    """

    model_config = SettingsConfigDict(env_prefix="GEO_PLATFORM_", extra="ignore", frozen=True)

    home: Path | None = Field(
        None,
        description="Folder of all data. Default: .geo in the application root, or in the current folder if the application is the installed one.",
    )
    application_root: Path | None = Field(None, description="Folder that holds workspace.yaml.")
    scratch: Path | None = Field(
        None, description="Folder for files in the making; left out, scratch in the home."
    )
    profile: Profile = Field(
        Profile.embedded,
        description="embedded (files) or production (Azure Blob, PostGIS, pgSTAC).",
    )
    blob_account_url: str | None = Field(
        None,
        description="https://ACCOUNT.blob.core.windows.net; not needed with a connection string.",
    )
    blob_connection_string: SecretStr | None = Field(
        None, description="Connection string of the storage account."
    )
    blob_key: SecretStr | None = Field(None, description="Shared key of the storage account.")
    blob_sas: SecretStr | None = Field(
        None,
        description="SAS token. With none of the three, DefaultAzureCredential: managed identity.",
    )
    blob_container_prefix: str = Field(
        "",
        pattern=r"^([a-z0-9]+-)*$",
        max_length=40,
        description="Before every container's name, as in test-bronze.",
    )
    postgres_url: SecretStr | None = Field(
        None,
        description="postgresql://USER@HOST/DATABASE of features and catalog; what it leaves out, libpq's own variables and files say.",
    )
    dagster_postgres_url: SecretStr | None = Field(
        None,
        description="postgresql://USER:PASSWORD@HOST:PORT/DATABASE of Dagster's runs, events and schedules: a database of its own.",
    )
    load_connections: int = Field(
        2, ge=1, le=16, description="Connections that load one dataset side by side."
    )
    stac_url: str | None = Field(
        None, description="Root of a STAC API on the catalog, for the links of items."
    )
    fork_runs: bool = Field(
        True,
        description="Whether a code location on Linux forks runs off a process that is loaded already.",
    )
    keep_replaced_days: float = Field(
        30,
        ge=0,
        description="How long what was replaced or unpublished is kept before the schedule removes it.",
    )
    watches: Path | None = Field(
        None,
        description="TOML file of what is taken in by itself; left out, the whole container bronze.",
    )
    arrivals_queue: str | None = Field(
        None,
        pattern=r"^[a-z0-9](-?[a-z0-9])+$",
        max_length=56,  # 63 less what the name of its poison queue adds
        description="Azure Storage queue of the events of arriving objects; left out, arrivals are found by listing alone.",
    )
    listed_every_s: int = Field(
        300,
        ge=1,
        description="Behind events: how many seconds between two looks at what is watched, for what the events missed.",
    )
    queued_too_long_s: float = Field(
        300,
        gt=0,
        description="How many seconds a run may be queued before its wait is looked into (RUN_STUCK).",
    )
    api_oidc_issuer: str | None = Field(
        None,
        description="Issuer of the access tokens that the HTTP face takes, as https://login.microsoftonline.com/TENANT/v2.0.",
    )
    api_oidc_audience: str | None = Field(
        None, description="Audience that a token must be for: the application id of the HTTP face."
    )
    api_oidc_jwks_url: str | None = Field(
        None,
        description="Where the issuer publishes its keys; left out, its discovery document is asked.",
    )
    api_requests_per_minute: int = Field(
        1_200,
        ge=1,
        description="Requests that one principal may make of each process of the HTTP face.",
    )
    api_address_requests_per_minute: int = Field(
        6_000,
        ge=1,
        description="Requests that one address may make of each process, known or not; behind a proxy, see docs/api.md.",
    )
    api_body_max_bytes: int = Field(
        1024**2, ge=1024, description="Longest body of a request that is no upload."
    )
    api_upload_max_bytes: int = Field(
        5_000 * 1024**2,
        ge=1,
        description="Largest file that is taken as an upload; to a storage account no more than 5000 MiB, one request.",
    )
    api_upload_minutes: int = Field(
        30, ge=1, le=24 * 60, description="How long the address that an upload goes to can be used."
    )
    api_session_hours: float = Field(
        8, gt=0, le=24 * 7, description="How long a sign-in of a browser holds."
    )
    api_session_secret: SecretStr | None = Field(
        None,
        min_length=32,
        description="What seals the cookies of browsers, the same for all processes; left out, a file in the home has one.",
    )
    dagster_url: str = Field(
        "http://127.0.0.1:3000",
        description="Dagster's webserver, with its path prefix where it has one.",
    )
    dagster_read_only_url: str | None = Field(
        None,
        description="A second webserver, started with --read-only, for those who may only look; left out, they get the first one.",
    )

    otlp_endpoint: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices(
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"
        ),
        description="OpenTelemetry's own variable: the collector that spans go to. Its SDK reads the others of OTEL_*.",
    )
    azure_monitor: SecretStr | None = Field(
        None,
        validation_alias="APPLICATIONINSIGHTS_CONNECTION_STRING",
        description="Azure's own variable: the connection string of the Application Insights that spans go to.",
    )

    @property
    def home_dir(self) -> Path:
        if self.home is not None:
            return self.home.expanduser().absolute()
        root = find_application_root(self.application_root)
        # Nothing is written into an installed wheel.
        return (Path.cwd() if root is None or is_in_the_wheel(root) else root) / ".geo"

    @property
    def scratch_dir(self) -> Path:
        """On the same file system as the store, so that publishing is a rename."""
        return self.scratch.expanduser().absolute() if self.scratch else self.home_dir / "scratch"

    @property
    def store_dir(self) -> Path:
        return self.home_dir / "store"

    @property
    def catalog_dir(self) -> Path:
        return self.home_dir

    @property
    def dagster_home_dir(self) -> Path:
        """One for each profile: a home may be used with both, and the dagster.yaml of the other is not taken for this one's."""
        return self.home_dir / (
            "dagster-production" if self.profile is Profile.production else "dagster"
        )

    @property
    def api_keys_file(self) -> Path:
        return self.home_dir / "api" / "keys.json"

    @property
    def log_file(self) -> Path:
        return self.home_dir / "logs" / "platform.jsonl"


def load_settings() -> Settings:
    """Read the environment now. Raises pydantic.ValidationError where a value does not fit."""
    return Settings()
