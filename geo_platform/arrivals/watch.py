"""A watch: the objects of a container that are ingested when they arrive, and their parameters.

Finding arrivals and launching their runs: `geo_platform/orchestrator/`.

Watches are in a TOML file that GEO_PLATFORM_WATCHES names:

    [[watch]]
    name = "elevation"
    prefix = "dem/"
    include = ["*.tif"]
    [watch.parameters]
    target_crs = "EPSG:3857"

Without a file there is one watch of the whole container `bronze`, with default parameters.
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
        pattern=r"^[a-z][a-z0-9_]{0,40}$", description="In the name of its sensor and on its runs."
    )
    container: str = Field(BRONZE, description="Container that is watched.")
    prefix: str = Field("", description="What the keys begin with, as in incoming/dem/.")
    include: tuple[str, ...] = Field(
        ("*",),
        description="Patterns of the key after the prefix; one has to fit. * goes across slashes.",
    )
    exclude: tuple[str, ...] = Field((), description="Patterns of which none may fit.")
    existing: bool = Field(
        True, description="Whether what lies there when the watch begins is taken in."
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="Parameters of the jobs, by the names of docs/parameters.md.",
    )
    settle_s: float = Field(
        2.0,
        ge=0,
        le=600,
        description="How long a file in a folder has to lie unchanged before it counts as whole.",
    )
    complete_within_s: float = Field(
        60.0,
        ge=0,
        le=86400,
        description="How long parts of one source that are missing are waited for.",
    )
    small_bytes: int = Field(8 * MIB, ge=0, description="Up to this size objects may share a run.")
    files_per_run: int = Field(200, ge=1, le=1000, description="Most objects of one run.")
    bytes_per_run: int = Field(
        256 * MIB, ge=1, description="Most bytes of one run of several objects."
    )
    most_waiting_runs: int = Field(
        20,
        ge=1,
        le=10_000,
        description="Runs of the watch that may wait; with more nothing is asked for.",
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

    def is_about(self, container: str, key: str) -> bool:
        """Return whether the watch covers an object of that name."""
        if container != self.container or not key.startswith(self.prefix):
            return False
        rest = key.removeprefix(self.prefix)
        is_left_out = any(fnmatchcase(rest, pattern) for pattern in self.exclude)
        return not is_left_out and any(fnmatchcase(rest, pattern) for pattern in self.include)

    def options_for(self, chain: Chain) -> dict[str, dict[str, Any]]:
        """Return the config of each stage: the parameters that it knows, and the container."""
        return chain.fit({**self.parameters, "container_name": self.container}).as_config()


DEFAULT_WATCH = Watch(name="bronze")


def read_watches(file: Path | None) -> tuple[Watch, ...]:
    """Return the watches of a file, or the default one without a file.

    Raises ParameterInvalid: the file cannot be read, or a watch in it is invalid.
    """
    if file is None:
        return (DEFAULT_WATCH,)
    try:
        written = tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ParameterInvalid(
            f"The file of watches {file.name!r} cannot be read: {error}.", remedy=_REMEDY
        ) from error
    watches = _parsed(written, file.name)
    names = [watch.name for watch in watches]
    if len(set(names)) < len(names) or not names:
        raise ParameterInvalid(
            f"{file.name!r} has no watch, or two of one name: {names}.", remedy=_REMEDY
        )
    return watches


_REMEDY = "Write it as docs/arrivals.md shows, and set GEO_PLATFORM_WATCHES to its path."


def _parsed(written: Mapping[str, Any], name: str) -> tuple[Watch, ...]:
    try:
        return tuple(Watch.model_validate(entry) for entry in written.get("watch", ()))
    except ValidationError as fault:
        faults = "; ".join(
            f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in fault.errors()
        )
        raise ParameterInvalid(
            f"A watch of {name!r} does not fit: {faults}.", remedy=_REMEDY
        ) from fault


def watch_of(watches: Iterable[Watch], container: str, key: str) -> Watch | None:
    """Return the first watch that covers the object, or None. An object belongs to one watch."""
    return next((watch for watch in watches if watch.is_about(container, key)), None)
