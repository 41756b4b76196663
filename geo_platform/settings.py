"""Settings of the platform, from environment variables: locations, credentials and limits.

The environment is read when `load_settings` is called, not when this module is imported. The
parameters of one job are in `options.py`.

Used throughout the application.
"""

import os
from enum import StrEnum
from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from geo_platform.application_root import find_application_root, is_in_the_wheel


class Profile(StrEnum):
    """The stores in use: local files (embedded), or Azure Blob, PostGIS and pgSTAC (production)."""

    embedded = "embedded"
    production = "production"


class ServingDownloads(StrEnum):
    """How a file in a storage account is downloaded."""

    stream = "stream"
    redirect = "redirect"


class Settings(BaseSettings):
    """The settings. The environment variable of a setting is GEO_PLATFORM_<NAME>.

    Two settings have the standard variables of OpenTelemetry and Azure instead. The defaults work
    on one machine. Secrets are `SecretStr`, which print and log as stars; only the code that opens
    a connection or seals a cookie reads their value.
    """

    model_config = SettingsConfigDict(env_prefix="GEO_PLATFORM_", extra="ignore", frozen=True)

    home: Path | None = Field(
        None,
        description="Folder of all data. Default: .geo in the application root, or in the current "
        "folder if the application is in an installed package.",
    )
    application_root: Path | None = Field(None, description="Folder that holds workspace.yaml.")
    scratch: Path | None = Field(
        None, description="Folder for temporary files. Default: scratch in the home."
    )
    profile: Profile = Field(
        Profile.embedded,
        description="embedded (files) or production (Azure Blob, PostGIS, pgSTAC).",
    )
    blob_account_url: str | None = Field(
        None,
        description="https://ACCOUNT.blob.core.windows.net. Not needed with a connection string.",
    )
    blob_connection_string: SecretStr | None = Field(
        None, description="Connection string of the storage account."
    )
    blob_key: SecretStr | None = Field(None, description="Shared key of the storage account.")
    blob_sas: SecretStr | None = Field(
        None,
        description="SAS token. Without connection string, key and token: DefaultAzureCredential.",
    )
    blob_container_prefix: str = Field(
        "",
        pattern=r"^([a-z0-9]+-)*$",
        max_length=40,
        description="Prefix of every container name, for example test- for test-bronze.",
    )
    postgres_url: SecretStr | None = Field(
        None,
        description="postgresql://USER@HOST/DATABASE of features and catalog. "
        "libpq's variables and files supply the parts that it leaves out.",
    )
    dagster_postgres_url: SecretStr | None = Field(
        None,
        description="postgresql://USER:PASSWORD@HOST:PORT/DATABASE of Dagster's runs, events and "
        "schedules. A separate database.",
    )
    load_connections: int = Field(
        2, ge=1, le=16, description="Parallel connections that load one dataset."
    )
    stac_url: str | None = Field(
        None, description="Root URL of a STAC API on the catalog, for links in items."
    )
    fork_runs: bool = Field(
        True,
        description="Fork runs from a preloaded process. Code locations on Linux only.",
    )
    keep_replaced_days: float = Field(
        30,
        ge=0,
        description="Days that replaced and unpublished versions are kept before removal.",
    )
    download_max_bytes: int = Field(
        5_000 * 1024**2,
        ge=1,
        description="Maximum size of a file that `ingest` or `plan` downloads from a URL.",
    )
    download_minutes: float = Field(
        30, gt=0, description="Minutes that such a download may take, connection included."
    )
    watches: Path | None = Field(
        None,
        description="TOML file of the watches. Default: watch the whole container bronze.",
    )
    arrivals_queue: str | None = Field(
        None,
        pattern=r"^[a-z0-9](-?[a-z0-9])+$",
        # Azure allows 63 characters, and the name of the poison queue adds "-poison".
        max_length=56,
        description="Azure Storage queue with the events of new objects. "
        "Default: find new objects by listing only.",
    )
    listed_every_s: int = Field(
        300,
        ge=1,
        description="With a queue: seconds between two listings, which find objects "
        "without an event.",
    )
    queued_too_long_s: float = Field(
        300,
        gt=0,
        description="Seconds that a run may be queued before its cause is examined (RUN_STUCK).",
    )
    api_oidc_issuer: str | None = Field(
        None,
        description="Issuer of the access tokens that the HTTP API accepts, for example "
        "https://login.microsoftonline.com/TENANT/v2.0.",
    )
    api_oidc_audience: str | None = Field(
        None, description="Audience that a token must have: the application id of the HTTP API."
    )
    api_oidc_jwks_url: str | None = Field(
        None,
        description="URL of the issuer's keys. Default: from the discovery document of the issuer.",
    )
    api_requests_per_minute: int = Field(
        1_200,
        ge=1,
        description="Requests per minute of one principal to each process of the HTTP API.",
    )
    api_address_requests_per_minute: int = Field(
        6_000,
        ge=1,
        description="Requests per minute of one address to each process, authenticated or not. "
        "Behind a proxy, see docs/api.md.",
    )
    api_reads_per_minute: int = Field(
        12_000,
        ge=1,
        description="The same of one principal for what is published: reads below /stac, /raster "
        "and /features, of which a map sends many. They are counted apart from other requests.",
    )
    api_address_reads_per_minute: int = Field(
        60_000, ge=1, description="The same of one address for what is published."
    )
    api_body_max_bytes: int = Field(
        1024**2, ge=1024, description="Maximum body of a request other than an upload."
    )
    api_upload_max_bytes: int = Field(
        5_000 * 1024**2,
        ge=1,
        description="Maximum size of an upload. Storage accounts accept at most 5000 MiB at once.",
    )
    api_upload_minutes: int = Field(
        30, ge=1, le=24 * 60, description="Minutes that the URL of an upload is valid."
    )
    api_session_hours: float = Field(
        8, gt=0, le=24 * 7, description="Hours that the session of a browser is valid."
    )
    api_session_secret: SecretStr | None = Field(
        None,
        min_length=32,
        description="Secret that seals the cookies of browsers, the same for all processes. "
        "Default: from a file in the home.",
    )
    api_url: str | None = Field(
        None,
        pattern="^https?://[^?#]+$",
        description="URL at which clients reach the HTTP API, for example https://geo.example.org. "
        "`show` then prints the addresses of downloads.",
    )
    serving_downloads: ServingDownloads = Field(
        ServingDownloads.stream,
        description="stream: the HTTP API sends the bytes of a download. redirect: it sends the "
        "client to a signed URL of the storage account. Files on a disk are always streamed.",
    )
    serving_download_minutes: int = Field(
        15, ge=1, le=24 * 60, description="Minutes that such a signed URL is valid."
    )
    serving_raster_max_pixels: int = Field(
        4_194_304,
        ge=512 * 512,
        description="Maximum pixels, times bands, that a request for a picture reads.",
    )
    serving_raster_seconds: float = Field(
        20, gt=0, description="Seconds that a request for a picture may take."
    )
    serving_raster_workers: int = Field(
        0,
        ge=0,
        le=256,
        description="Pictures that one process draws at the same time. Default: two per CPU.",
    )
    search_seconds: float = Field(
        10, gt=0, description="Seconds that a search of the STAC API may take."
    )
    search_connections: int = Field(
        4,
        ge=1,
        le=100,
        description="Connections to the database of each process, for searches of the STAC API.",
    )
    dagster_url: str = Field(
        "http://127.0.0.1:3000",
        description="URL of Dagster's webserver, with its path prefix if it has one.",
    )
    dagster_read_only_url: str | None = Field(
        None,
        description="URL of a second webserver, started with --read-only, for read-only users. "
        "Default: the first one.",
    )

    features_max_rows: int = Field(
        10_000, ge=1, description="Most rows of one response of /features."
    )
    features_max_bytes: int = Field(
        32 * 1024**2,
        ge=1024,
        description="Bytes of values after which a page of /features ends.",
    )
    features_seconds: float = Field(
        10, gt=0, description="Seconds that a request for features or a vector tile may take."
    )
    features_connections: int = Field(
        8, ge=1, description="Connections to the database that read features for requests."
    )
    tile_max_bytes: int = Field(
        500_000,
        ge=10_000,
        description="Maximum bytes of a vector tile; the smallest rows are left out.",
    )
    tile_cache_mb: int = Field(
        64, ge=0, description="Memory of each process for vector tiles that were drawn, in MB."
    )
    features_memory_mb: int = Field(
        512, ge=64, description="Memory for reading GeoParquet files for requests, in MB."
    )

    otlp_endpoint: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices(
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"
        ),
        description="OpenTelemetry's variable: the collector of spans. "
        "Its SDK reads the other OTEL_* variables.",
    )
    azure_monitor: SecretStr | None = Field(
        None,
        validation_alias="APPLICATIONINSIGHTS_CONNECTION_STRING",
        description="Azure's variable: connection string of the Application Insights for spans.",
    )

    @property
    def home_dir(self) -> Path:
        if self.home is not None:
            return self.home.expanduser().absolute()
        root = find_application_root(self.application_root)
        # An installed wheel must not change, so data is not written into its folder.
        return (Path.cwd() if root is None or is_in_the_wheel(root) else root) / ".geo"

    @property
    def scratch_dir(self) -> Path:
        # Must be on the same file system as the store, so that publishing is a rename.
        return self.scratch.expanduser().absolute() if self.scratch else self.home_dir / "scratch"

    @property
    def store_dir(self) -> Path:
        return self.home_dir / "store"

    @property
    def catalog_dir(self) -> Path:
        return self.home_dir

    @property
    def dagster_home_dir(self) -> Path:
        # Each profile has its own dagster.yaml, and one home may be used with both profiles.
        return self.home_dir / (
            "dagster-production" if self.profile is Profile.production else "dagster"
        )

    @property
    def api_keys_file(self) -> Path:
        return self.home_dir / "api" / "keys.json"

    @property
    def log_file(self) -> Path:
        return self.home_dir / "logs" / "platform.jsonl"


def use_home(home: Path) -> None:
    """Set the home for `load_settings`, in this process and in the processes that it starts.

    It has to be an environment variable: Dagster creates the resources of a run, in this or in
    another process, and they load the settings themselves.
    """
    os.environ["GEO_PLATFORM_HOME"] = str(home)


def load_settings() -> Settings:
    """Return the settings of the environment.

    Raises pydantic.ValidationError: a value is invalid.
    """
    return Settings()
