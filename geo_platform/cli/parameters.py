"""Command-line options for the parameters of the stages, made from the stages' option models.

So each parameter is described only once, in its model. This module also turns the values from the
command line back into parameters, and the parameters that an error names into options.

Used by `cli/commands` and `cli`.
"""

import re
import typing
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import cache
from types import NoneType
from typing import Any, TypeVar

import click
from pydantic.fields import FieldInfo

from geo_platform.chains.chain import Chain, ChainOptions, ParametersError
from geo_platform.chains.registry import CHAINS

F = TypeVar("F", bound=Callable[..., Any])


_NOT_ON_THE_COMMAND_LINE = {"container_name"}


def stage_options(command: F) -> F:
    """Add an option for each parameter of any stage. An unused option is None or ()."""
    for name, (field, chains) in sorted(_fields().items(), reverse=True):
        command = _option(name, field, chains)(command)
    return command


def job_option(command: F) -> F:
    """Add the option that names the job for all sources of the command."""
    return click.option(
        "--job",
        type=click.Choice([chain.job for chain in CHAINS]),
        help="Job for all sources. Default: the content of each source decides.",
    )(command)


def parameters_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that the user has set, in the form that the option models take.

    Raises click.UsageError: a value is not of the form NAME=NAME that the parameter needs.
    """
    used = {name: values[name] for name in _fields() if values.get(name) not in (None, (), [])}
    return {name: _from_text(name, value) for name, value in used.items()}


def options_of(chain: Chain, parameters: Mapping[str, Any]) -> ChainOptions:
    """Return the options of the chain's stages, made from the parameters.

    Raises click.UsageError: values do not fit. The message names all of them.
    """
    try:
        return chain.fit(parameters)
    except ParametersError as error:
        faults = [f"{_flag(name)}: {reason}" for name, reason in error.faults]
        raise click.UsageError("PARAMETER_INVALID: " + "; ".join(faults)) from error


def as_typed(text: str) -> str:
    """Return a message or remedy with options in place of the parameters that it names.

    `input_crs` becomes `--input-crs`, `mixed_geometry=keep` becomes `--mixed-geometry keep`, and
    `force=true` becomes `--force`. A name that is also an English word counts only with a value or
    in backquotes. Names in quotation marks are those of columns and files, and stay.
    """
    return _named_parameters().sub(_option_as_typed, text)


def record_as_typed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of an error (`PlatformError.as_record`) with its texts as typed."""
    texts = {name: as_typed(str(record[name])) for name in ("message", "remedy") if name in record}
    return {**record, **texts}


@cache
def _named_parameters() -> re.Pattern[str]:
    names = sorted(_fields(), key=len, reverse=True)
    any_name, compound = "|".join(names), "|".join(name for name in names if "_" in name)
    before, after = r"""(?<![\w'"`./=-])""", r"""(?![\w'"`=/]|\.\w|-\w)"""
    value = r"""(?P<value>[^\s,;'"`]*[^\s,;.:)'"`])"""
    return re.compile(
        rf"`(?P<quoted>{any_name})`|{before}(?P<set>{any_name})={value}"
        rf"|{before}(?P<bare>{compound}){after}"
    )


def _option_as_typed(found: re.Match[str]) -> str:
    name = found["quoted"] or found["set"] or found["bare"]
    value = found["value"]
    if value is None or _plain_type(_fields()[name][0]) is bool:
        return f"--no-{_flag(name)[2:]}" if value == "false" else _flag(name)
    return f"{_flag(name)} {value}"


def unknown_to(chain: Chain, parameters: Mapping[str, Any]) -> list[str]:
    """Return the flags of the parameters that no stage of the chain has."""
    return [_flag(name) for name in chain.unknown(parameters)]


def _fields() -> dict[str, tuple[FieldInfo, list[str]]]:
    """Return each parameter's field with the names of the chains that have the parameter."""
    fields: dict[str, tuple[FieldInfo, list[str]]] = {}
    for chain in CHAINS:
        for stage in chain.stages:
            for name, field in stage.options.model_fields.items():
                if name not in _NOT_ON_THE_COMMAND_LINE:
                    fields.setdefault(name, (field, []))[1].append(chain.name)
    return fields


def _option(name: str, field: FieldInfo, chains: list[str]) -> Callable[[F], F]:
    is_common = len(chains) == len(CHAINS)
    help_text = (field.description or "") + ("" if is_common else f" [{', '.join(chains)}]")
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
        metavar = "NAME=NAME" if typing.get_origin(kind) is dict else "NAME"
        return click.option(
            _flag(name), name, multiple=True, metavar=metavar, help=f"{help_text} May be repeated."
        )
    return click.option(_flag(name), name, type=kind, help=f"{help_text} {_default(field)}".strip())


def _plain_type(field: FieldInfo) -> Any:
    """Return the field's type without None."""
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
            raise click.UsageError(
                f"PARAMETER_INVALID: {_flag(name)} must have the form SOURCE=PUBLISHED"
            )
        return {key: published for key, _, published in pairs}
    return value


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
