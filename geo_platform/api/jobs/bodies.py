"""The body of each job's submission in the OpenAPI document: the options of its stages, flat.

Types, defaults and limits come from the options of the stages. These models only document a body.
`types.py` checks it, because its errors use the parameter names that the client sent. A test
compares the models with `types.py`.

Called by `routes.py`.
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
# The rule of `storage/keys.py`: no part is empty, `.` or `..`, and the last is not hidden.
_KEY = rf"^(([^.{_NEVER}]|\.[^.{_NEVER}]|\.\.[^{_NEVER}])[^{_NEVER}]*/)*[^.{_NEVER}][^{_NEVER}]*$"

_ANNOTATIONS = ("title", "description", "default", "examples", "deprecated")


def _allow_null(schema: dict[str, Any]) -> None:
    """Allow null for each optional parameter: null means that the parameter is left out."""
    for name, described in schema["properties"].items():
        shape = {key: value for key, value in described.items() if key not in _ANNOTATIONS}
        if name not in schema.get("required", ()) and {"type": "null"} not in shape.get(
            "anyOf", ()
        ):
            schema["properties"][name] = {
                "anyOf": [shape, {"type": "null"}],
                **{key: described[key] for key in _ANNOTATIONS if key in described},
            }


class Body(Options):
    """A body without unknown parameters; `null` means that a parameter is left out."""

    model_config = ConfigDict(json_schema_extra=_allow_null)


class _SourceParameters(Body, ArrivalOptions):
    """Parameters of each job with a source."""

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
    """Older names of the parameters for reading a file."""

    lat_name: str | None = Field(None, description="The same as the parameter lat_name.")
    lon_name: str | None = Field(None, description="The same as the parameter lon_name.")
    wkt_column: str | None = Field(None, description="The same as the parameter wkt_column.")
    layer_name: str | None = Field(None, description="The same as the parameter layer_name.")
    kml_name: str | None = Field(None, max_length=1024, description="The same as archive_member.")
    shp_name: str | None = Field(None, max_length=1024, description="The same as archive_member.")


class Indexes(Body):
    """Older names of the parameters for indexes."""

    spatial: bool = Field(True, strict=True, description="The same as indexes_spatial.")
    attributes: list[str] = Field(
        default_factory=list, description="The same as indexes_attributes."
    )
    temporal: list[str] = Field(default_factory=list, description="The same as indexes_temporal.")


class GeometryParameters(Body):
    """Older names of the parameters for geometries."""

    simplify: float | None = Field(
        None, strict=True, gt=0, description="The same as simplify_tolerance."
    )
    quantize: float | None = Field(
        None, strict=True, gt=0, description="The same as quantize_grid."
    )


class VectorParameters(ItemOptions, VectorFeaturesOptions, VectorProfileOptions, _SourceParameters):
    """What to make of a vector file. All parameters but blob_name are optional.

    Some parameters have two names. Use only one of the two.
    """

    table_name: str | None = Field(
        None,
        pattern="^[A-Za-z][A-Za-z0-9_]{0,62}$",
        description="Name of the dataset, no reserved word of SQL. Default: derived from the name "
        "of the object.",
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
    """Parameters of the smoke test."""


def _body_of(chain: Chain) -> type[Body]:
    """Return the body of a chain without names of its own: the options of all of its stages."""
    options = tuple(stage.options for stage in chain.stages if stage.options is not ArrivalOptions)
    create: Any = create_model  # not typed for several bases
    body: type[Body] = create(
        f"{chain.name.capitalize()}Parameters",
        __base__=(*reversed(options), _SourceParameters),
        __doc__=f"What to make of a {chain.name} file. All parameters but blob_name are optional.",
        __module__=__name__,
    )
    return body


# Bodies with more than the options of the stages, by job type.
_OWN_BODIES: Mapping[str, type[Body]] = {VECTOR.job: VectorParameters}

# Job type -> body.
BODIES: Mapping[str, type[Body]] = {
    **{chain.job: _OWN_BODIES.get(chain.job) or _body_of(chain) for chain in CHAINS},
    HELLO: GreetingParameters,
}

# Job type -> title of the example -> body.
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
    """Annotation: document the body as this model, but pass the body to the route unchecked."""

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
