"""The body of each job's submission as the OpenAPI document has it: the options of its stages, flat, with the names that clients know.

What belongs here: types, defaults, limits and examples, taken from the options themselves. What stays out: what becomes of a body
(`job_types.py`), which names every fault by the name that the client gave and so checks it by itself; a test holds the two together.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, create_model
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from geo_platform.api.jobs.types import HELLO
from geo_platform.chains.chain import Chain
from geo_platform.chains.raster import RASTER
from geo_platform.chains.registry import CHAINS
from geo_platform.chains.vector import VECTOR
from geo_platform.options import ArrivalOptions, GreetingOptions, ItemOptions, Options
from geo_platform.storage.keys import KEY_MAX_CHARACTERS
from geo_platform.vector.options import VectorFeaturesOptions, VectorProfileOptions

_NEVER = r"/\\\x00-\x1f\x7f"
# No part is empty, climbs or is hidden at the end: as `storage/keys.py` has it.
_KEY = rf"^(([^.{_NEVER}]|\.[^.{_NEVER}]|\.\.[^{_NEVER}])[^{_NEVER}]*/)*[^.{_NEVER}][^{_NEVER}]*$"

_SAID = ("title", "description", "default", "examples", "deprecated")


def _null_is_left_out(schema: dict[str, Any]) -> None:
    """Whatever may be left out may be null, which is the same."""
    for name, said in schema["properties"].items():
        shape = {key: value for key, value in said.items() if key not in _SAID}
        if name not in schema.get("required", ()) and {"type": "null"} not in shape.get(
            "anyOf", ()
        ):
            schema["properties"][name] = {
                "anyOf": [shape, {"type": "null"}],
                **{key: said[key] for key in _SAID if key in said},
            }


class Body(Options):
    """Closed, and `null` for what is left out."""

    model_config = ConfigDict(json_schema_extra=_null_is_left_out)


class _OfObject(Body, ArrivalOptions):
    """What each job takes that has a source."""

    blob_name: str = Field(
        max_length=KEY_MAX_CHARACTERS,
        pattern=_KEY,
        description="The object's name in its container.",
        examples=["dem.tif", "a/b.tif"],
    )
    container_name: Literal["bronze", "silver"] = Field(
        "bronze", description="Container of the object."
    )


class ConverterParameters(Body):
    """Older names of what a file is read by."""

    lat_name: str | None = Field(None, description="The same as lat_name beside it.")
    lon_name: str | None = Field(None, description="The same as lon_name beside it.")
    wkt_column: str | None = Field(None, description="The same as wkt_column beside it.")
    layer_name: str | None = Field(None, description="The same as layer_name beside it.")
    kml_name: str | None = Field(None, max_length=1024, description="The same as archive_member.")
    shp_name: str | None = Field(None, max_length=1024, description="The same as archive_member.")


class Indexes(Body):
    """Older names of what is indexed."""

    spatial: bool = Field(True, strict=True, description="The same as indexes_spatial.")
    attributes: list[str] = Field(
        default_factory=list, description="The same as indexes_attributes."
    )
    temporal: list[str] = Field(default_factory=list, description="The same as indexes_temporal.")


class GeometryParameters(Body):
    """Older names of what becomes of geometries."""

    simplify: float | None = Field(
        None, strict=True, gt=0, description="The same as simplify_tolerance."
    )
    quantize: float | None = Field(
        None, strict=True, gt=0, description="The same as quantize_grid."
    )


class VectorParameters(ItemOptions, VectorFeaturesOptions, VectorProfileOptions, _OfObject):
    """What to make of a vector file. Each parameter but blob_name may be left out; none is given by two of its names."""

    table_name: str | None = Field(
        None,
        pattern="^[A-Za-z][A-Za-z0-9_]{0,62}$",
        description="Name of the dataset, no reserved word of SQL; left out, made from the object's name.",
        examples=["wells"],
    )
    schema_: str = Field(
        "geo",
        alias="schema",
        pattern=r"^[a-z][a-z0-9_]{0,62}$",
        description="The same as schema_name.",
        deprecated=True,
    )
    converter_params: ConverterParameters | None = Field(None, deprecated=True)
    indexes: Indexes | None = Field(None, deprecated=True)
    geometry_params: GeometryParameters | None = Field(None, deprecated=True)


class GreetingParameters(Body, GreetingOptions):
    """Whom the smoke test greets."""


def _body_of(chain: Chain) -> type[Body]:
    """Return the body of a chain without names of its own: the options of all of its stages."""
    options = tuple(stage.options for stage in chain.stages if stage.options is not ArrivalOptions)
    create: Any = create_model  # not typed for several bases
    body: type[Body] = create(
        f"{chain.name.capitalize()}Parameters",
        __base__=(*reversed(options), _OfObject),
        __doc__=f"What to make of a {chain.name} file. Each parameter but blob_name may be left out.",
        __module__=__name__,
    )
    return body


# Bodies with more than the options of the stages, by job type.
_OWN_BODIES: Mapping[str, type[Body]] = {VECTOR.job: VectorParameters}

# By job type.
BODIES: Mapping[str, type[Body]] = {
    **{chain.job: _OWN_BODIES.get(chain.job) or _body_of(chain) for chain in CHAINS},
    HELLO: GreetingParameters,
}

# By job type, by what they show.
EXAMPLES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    **{chain.job: {"shortest": {"blob_name": "a/b.csv"}} for chain in CHAINS},
    RASTER.job: {
        "shortest": {"blob_name": "dem.tif"},
        "reprojected": {
            "blob_name": "dem.tif",
            "output_tier": "all",
            "target_crs": "EPSG:3857",
            "item_id": "elevation",
        },
    },
    VECTOR.job: {
        "table of points": {
            "blob_name": "wells.csv",
            "table_name": "wells",
            "lat_name": "lat",
            "lon_name": "lon",
            "key_columns": ["well"],
        },
        "older names": {
            "blob_name": "wells.csv",
            "file_extension": "csv",
            "table_name": "wells",
            "converter_params": {"lat_name": "lat", "lon_name": "lon"},
            "indexes": {"spatial": True, "attributes": ["depth_m"], "temporal": []},
        },
    },
    HELLO: {"greeting": {"name": "world"}},
}


class DescribedAs:
    """Of an annotation: the OpenAPI document has this model for it, and what is sent is handed on as it came."""

    def __init__(self, model: type[Body]) -> None:
        self._model = model

    def __get_pydantic_json_schema__(
        self, _: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = self._model.__pydantic_core_schema__
        if schema["type"] == "model":  # else it is a reference with its definitions already
            schema = core_schema.definitions_schema(
                core_schema.definition_reference_schema(schema["ref"]), [schema]
            )
        return handler(schema)
