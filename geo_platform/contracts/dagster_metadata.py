"""Metadata that declares types to the verifier where a definition has no annotation.

- `message_metadata(RasterProfiled)` declares the value of an `AssetSpec`, or what the reader of an
  `AssetDep` expects.
- `config_metadata(raw_raster=RawRasterConfig)` declares the config models with which a sensor or
  schedule launches its job.

Both are ordinary Dagster metadata, which the UI shows.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from dagster import MetadataValue, PythonArtifactMetadataValue
from pydantic import BaseModel

MESSAGE_KEY = "message"
CONFIG_PREFIX = "config:"


def message_metadata(message: type) -> dict[str, MetadataValue[Any]]:
    """Return metadata for an `AssetSpec` or an `AssetDep` whose value has this type."""
    return {MESSAGE_KEY: MetadataValue.python_artifact(message)}


def config_metadata(**models_by_op: type[BaseModel]) -> dict[str, MetadataValue[Any]]:
    """Return metadata for a sensor or schedule; `models_by_op` are the config models of the ops."""
    return {
        f"{CONFIG_PREFIX}{op}": MetadataValue.python_artifact(model)
        for op, model in models_by_op.items()
    }


def declared_message(metadata: Mapping[str, Any]) -> Any:
    """Return the declared type, or None if there is none.

    Raises ImportError, AttributeError: the declared type does not exist.
    """
    return _resolve(metadata.get(MESSAGE_KEY))


def declared_config(metadata: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield (op, config model) in the order of declaration."""
    for key, value in metadata.items():
        if key.startswith(CONFIG_PREFIX):
            yield key.removeprefix(CONFIG_PREFIX), _resolve(value)


def _resolve(value: Any) -> Any:
    if isinstance(value, type):
        return value
    if not isinstance(value, PythonArtifactMetadataValue):
        return None
    # By string, since Dagster keeps the class in metadata as the names of its module and itself.
    return getattr(import_module(value.module), value.name)
