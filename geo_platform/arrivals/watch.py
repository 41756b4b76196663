"""A watch: which objects of a container are ingested when they arrive, and with which parameters.

`geo_platform/orchestrator/` finds arrivals and launches their runs. Watches are defined in a TOML
file whose path is in GEO_PLATFORM_WATCHES:

    [[watch]]
    name = "elevation"
    prefix = "dem/"
    include = ["*.tif"]
    [watch.parameters]
    target_crs = "EPSG:3857"

Without a file, there is one watch. It covers the whole container `bronze`, with default parameters.

Used throughout the application.
"""

import tomllib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from geo_platform.chains.chain import Chain, ParametersError
from geo_platform.chains.registry import CHAINS
from geo_platform.errors import ParameterInvalid
from geo_platform.ports import BRONZE

MIB = 2**20


class Watch(BaseModel):
    """A watched part of a container. Sizes are in bytes, times in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]{0,40}$",
        description="Name of the watch. It is part of its sensor's name and a tag of its runs.",
    )
    container: str = Field(BRONZE, description="Container that is watched.")
    prefix: str = Field("", description="Prefix of the keys, for example incoming/dem/.")
    include: tuple[str, ...] = Field(
        ("*",),
        description="Patterns for the rest of the key; one must match. * also matches slashes.",
    )
    exclude: tuple[str, ...] = Field((), description="Patterns like include; none may match.")
    existing: bool = Field(
        True, description="Whether objects that exist when the watch starts are ingested."
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="Parameters of the jobs, by the names of docs/parameters.md.",
    )
    settle_s: float = Field(
        2.0,
        ge=0,
        le=600,
        description="Seconds for which a file in a folder must be unchanged to count as complete.",
    )
    complete_within_s: float = Field(
        60.0,
        ge=0,
        le=86400,
        description="Seconds to wait for missing files of a source.",
    )
    small_bytes: int = Field(8 * MIB, ge=0, description="Sources up to this size may share a run.")
    files_per_run: int = Field(
        200, ge=1, le=1000, description="Maximum number of sources in a run."
    )
    bytes_per_run: int = Field(
        256 * MIB, ge=1, description="Maximum number of bytes in a run of several sources."
    )
    most_waiting_runs: int = Field(
        20,
        ge=1,
        le=10_000,
        description="Maximum number of waiting runs. With more, no run is requested.",
    )

    @model_validator(mode="after")
    def _parameters_fit(self) -> "Watch":
        faults = []
        for chain in CHAINS:
            try:
                chain.fit(self.parameters)
            except ParametersError as error:
                faults += [f"{name}: {wrong}" for name, wrong in error.faults]
        unknown = set.intersection(*(set(chain.unknown(self.parameters)) for chain in CHAINS))
        faults += [f"{name}: no parameter of any job" for name in sorted(unknown)]
        if faults:
            raise ValueError("; ".join(dict.fromkeys(faults)))
        return self

    def covers(self, container: str, key: str) -> bool:
        """Return whether an object belongs to the watch, by container, prefix and patterns."""
        if container != self.container or not key.startswith(self.prefix):
            return False
        rest = key.removeprefix(self.prefix)
        is_excluded = any(fnmatchcase(rest, pattern) for pattern in self.exclude)
        return not is_excluded and any(fnmatchcase(rest, pattern) for pattern in self.include)

    def options_for(self, chain: Chain) -> dict[str, dict[str, Any]]:
        """Return the config of each stage: the stage's parameters and the container."""
        return chain.fit({**self.parameters, "container_name": self.container}).as_config()


DEFAULT_WATCH = Watch(name="bronze")


def read_watches(file: Path | None) -> tuple[Watch, ...]:
    """Return the watches that the file defines, or the default watch if `file` is None.

    Raises ParameterInvalid: the file cannot be read, or a watch in it is invalid.
    """
    if file is None:
        return (DEFAULT_WATCH,)
    try:
        document = tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ParameterInvalid(
            f"The file of watches {file.name!r} cannot be read: {error}.", remedy=_REMEDY
        ) from error
    watches = _parsed(document, file.name)
    names = [watch.name for watch in watches]
    if len(set(names)) < len(names) or not names:
        raise ParameterInvalid(
            f"{file.name!r} has no watch, or two of one name: {names}.", remedy=_REMEDY
        )
    return watches


_REMEDY = "Write it as docs/arrivals.md shows, and set GEO_PLATFORM_WATCHES to its path."


def _parsed(document: Mapping[str, Any], name: str) -> tuple[Watch, ...]:
    try:
        return tuple(Watch.model_validate(entry) for entry in document.get("watch", ()))
    except ValidationError as fault:
        faults = "; ".join(
            f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in fault.errors()
        )
        raise ParameterInvalid(
            f"A watch of {name!r} does not fit: {faults}.", remedy=_REMEDY
        ) from fault


def watch_of(watches: Iterable[Watch], container: str, key: str) -> Watch | None:
    """Return the first watch that covers the object, or None. Later watches ignore the object."""
    return next((watch for watch in watches if watch.covers(container, key)), None)
