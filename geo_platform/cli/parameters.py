"""Command line options made from the stages' own option models, so that there is one description of each parameter.

What belongs here: pydantic fields to click options and back to the stages' parameters. What stays out: any command.
"""

import typing
from collections.abc import Callable, Mapping
from enum import StrEnum
from types import NoneType
from typing import Any, TypeVar

import click
from pydantic.fields import FieldInfo

from geo_platform.chains import CHAINS, Chain, ChainOptions, ParametersError, fit, unknown
from geo_platform.contracts.arrival import SourceKind

F = TypeVar("F", bound=Callable[..., Any])


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


def options_of(chain: Chain, parameters: Mapping[str, Any]) -> ChainOptions:
    """Each stage's options. Raises click.UsageError naming every parameter that does not fit."""
    try:
        return fit(chain, parameters)
    except ParametersError as unfit:
        faults = [f"{_flag(name)}: {wrong}" for name, wrong in unfit.faults]
        raise click.UsageError("PARAMETER_INVALID: " + "; ".join(faults)) from unfit


def unknown_to(chain: Chain, parameters: Mapping[str, Any]) -> list[str]:
    """The given parameters that no stage of this chain knows, as flags."""
    return [_flag(name) for name in unknown(chain, parameters)]


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
        return click.option(
            _flag(name),
            name,
            type=click.Choice([member.value for member in kind]),
            help=f"{help_text} {_default(field)}",
        )
    if typing.get_origin(kind) in (list, dict):
        what = "NAME=NAME" if typing.get_origin(kind) is dict else "NAME"
        return click.option(
            _flag(name), name, multiple=True, metavar=what, help=f"{help_text} May be repeated."
        )
    return click.option(_flag(name), name, type=kind, help=f"{help_text} {_default(field)}".strip())


def _plain_type(field: FieldInfo) -> Any:
    """The field's type without its None."""
    parts = [part for part in typing.get_args(field.annotation) if part is not NoneType]
    is_optional = NoneType in typing.get_args(field.annotation)
    return parts[0] if is_optional else field.annotation


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    return (
        f"[default: {default.value if isinstance(default, StrEnum) else default}]"
        if default not in (None, [], {})
        else ""
    )


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
