"""What a definition declares to the verifier where Dagster has no annotation to read it from.

- `message_metadata(RasterProfiled)` on an `AssetSpec` says what the asset makes; on an `AssetDep`, what its reader expects.
- `config_metadata(raw_raster=RawRasterConfig)` on a sensor or schedule says with which config models it launches its job.

Both are ordinary Dagster metadata, so that the UI shows them.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from dagster import MetadataValue, PythonArtifactMetadataValue
from pydantic import BaseModel

MESSAGE_KEY = "message"
CONFIG_PREFIX = "config:"


def message_metadata(message: type) -> dict[str, MetadataValue[Any]]:
    """Metadata for an `AssetSpec` or an `AssetDep` whose value has this type."""
    return {MESSAGE_KEY: MetadataValue.python_artifact(message)}


def config_metadata(**models_by_op: type[BaseModel]) -> dict[str, MetadataValue[Any]]:
    """Metadata for a sensor or schedule that launches its job with these config models, an op each."""
    return {
        f"{CONFIG_PREFIX}{op}": MetadataValue.python_artifact(model)
        for op, model in models_by_op.items()
    }


def declared_message(metadata: Mapping[str, Any]) -> Any:
    """The declared type, or None where none is declared.

    Raises ImportError or AttributeError where it names what does not exist.
    """
    return _resolve(metadata.get(MESSAGE_KEY))


def declared_config(metadata: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(op, config model) pairs, in the order of declaration."""
    for key, value in metadata.items():
        if key.startswith(CONFIG_PREFIX):
            yield key.removeprefix(CONFIG_PREFIX), _resolve(value)


def _resolve(value: Any) -> Any:
    if isinstance(value, type):
        return value
    return (
        getattr(import_module(value.module), value.name)
        if isinstance(value, PythonArtifactMetadataValue)
        else None
    )
