"""Command line options made from the stages' own option models, so that there is one description of each parameter.

What belongs here: pydantic fields to click options and back to the stages' parameters. What stays out: any command.
"""

import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import NoneType
from typing import Any, TypeVar

import click
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from geo_platform.contracts.arrival import SourceKind
from geo_platform.options import ArrivalOptions, ItemOptions, Options
from geo_platform.raster.options import RasterCogOptions, RasterProfileOptions
from geo_platform.vector.options import VectorFeaturesOptions, VectorProfileOptions

F = TypeVar("F", bound=Callable[..., Any])
Model = TypeVar("Model", bound=Options)


@dataclass(frozen=True)
class Chain:
    """A job: its stages in order, each with the model of its options, and the name of its partitions."""

    kind: SourceKind
    job: str
    partitions_name: str
    stages: Mapping[str, type[Options]]


CHAINS: Mapping[SourceKind, Chain] = {
    SourceKind.raster: Chain(
        kind=SourceKind.raster,
        job="process_raster",
        partitions_name="raster_objects",
        stages={
            "raw_raster": ArrivalOptions,
            "raster_profile": RasterProfileOptions,
            "raster_cog": RasterCogOptions,
            "raster_item": ItemOptions,
        },
    ),
    SourceKind.vector: Chain(
        kind=SourceKind.vector,
        job="ingest_vector",
        partitions_name="vector_objects",
        stages={
            "raw_vector": ArrivalOptions,
            "vector_profile": VectorProfileOptions,
            "vector_features": VectorFeaturesOptions,
            "vector_item": ItemOptions,
        },
    ),
}

_NOT_ON_THE_COMMAND_LINE = {"container_name"}


def stage_options(command: F) -> F:
    """Add one option per parameter of any stage; what was not given stays None, so that the models' defaults hold."""
    for name, (field, kinds) in sorted(_fields().items(), reverse=True):
        command = _option(name, field, kinds)(command)
    return command


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that a person gave, in the models' terms."""
    kept = {name: values[name] for name in _fields() if values.get(name) not in (None, (), [])}
    return {name: _from_text(name, value) for name, value in kept.items()}


@dataclass(frozen=True)
class ChainOptions:
    """The options of every stage of a chain."""

    by_stage: Mapping[str, Options]

    def of(self, model: type[Model]) -> Model:
        """The options of the stage that has this model."""
        return next(options for options in self.by_stage.values() if isinstance(options, model))


def options_of(chain: Chain, parameters: Mapping[str, Any]) -> ChainOptions:
    """Each stage's options. Raises click.UsageError naming every parameter that does not fit."""
    built: dict[str, Options] = {}
    faults: list[str] = []
    for stage, model in chain.stages.items():
        try:
            built[stage] = model.model_validate({name: value for name, value in parameters.items() if name in model.model_fields})
        except ValidationError as fault:
            faults += [f"{_flag(str(error['loc'][0]))}: {error['msg'].removeprefix('Value error, ')}" for error in fault.errors()]
    if faults:
        raise click.UsageError("PARAMETER_INVALID: " + "; ".join(dict.fromkeys(faults)))
    return ChainOptions(built)


def unknown_to(chain: Chain, parameters: Mapping[str, Any]) -> list[str]:
    """The given parameters that no stage of this chain knows, as flags."""
    known = {name for model in chain.stages.values() for name in model.model_fields}
    return [_flag(name) for name in parameters if name not in known]


def _fields() -> dict[str, tuple[FieldInfo, set[SourceKind]]]:
    found: dict[str, tuple[FieldInfo, set[SourceKind]]] = {}
    for chain in CHAINS.values():
        for model in chain.stages.values():
            for name, field in model.model_fields.items():
                if name not in _NOT_ON_THE_COMMAND_LINE:
                    found.setdefault(name, (field, set()))[1].add(chain.kind)
    return found


def _option(name: str, field: FieldInfo, kinds: set[SourceKind]) -> Callable[[F], F]:
    both = len(kinds) == len(CHAINS)
    help_text = (field.description or "") + ("" if both else f" [{next(iter(kinds)).value}]")
    kind = _plain_type(field)
    if kind is bool:
        default = bool(field.default)
        flags = f"{_flag(name)}/--no-{_flag(name)[2:]}" if default else _flag(name)
        return click.option(flags, name, is_flag=True, default=None, help=help_text)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return click.option(_flag(name), name, type=click.Choice([member.value for member in kind]), help=f"{help_text} {_default(field)}")
    if typing.get_origin(kind) in (list, dict):
        what = "NAME=NAME" if typing.get_origin(kind) is dict else "NAME"
        return click.option(_flag(name), name, multiple=True, metavar=what, help=f"{help_text} May be repeated.")
    return click.option(_flag(name), name, type=kind, help=f"{help_text} {_default(field)}".strip())


def _plain_type(field: FieldInfo) -> Any:
    """The field's type without its None."""
    parts = [part for part in typing.get_args(field.annotation) if part is not NoneType]
    is_optional = NoneType in typing.get_args(field.annotation)
    return parts[0] if is_optional else field.annotation


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    return f"[default: {default.value if isinstance(default, StrEnum) else default}]" if default not in (None, [], {}) else ""


def _from_text(name: str, value: Any) -> Any:
    origin = typing.get_origin(_plain_type(_fields()[name][0]))
    if origin is list:
        return list(value)
    if origin is dict:
        pairs = [entry.partition("=") for entry in value]
        if not all(separator for _, separator, _ in pairs):
            raise click.UsageError(f"PARAMETER_INVALID: {_flag(name)} wants SOURCE=PUBLISHED")
        return {key: published for key, _, published in pairs}
    return value


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
