"""Options are closed, ranged and strict: true is not 1, and a misspelt parameter is not ignored."""

import pytest
from pydantic import ValidationError

from geo_platform.chains.registry import CHAINS
from geo_platform.options import ItemOptions, Options
from geo_platform.raster.options import RasterCogOptions
from geo_platform.vector.options import VectorFeaturesOptions

MODELS = sorted(
    {stage.options for chain in CHAINS for stage in chain.stages},
    key=lambda model: model.__name__,
)


@pytest.mark.parametrize("model", MODELS)
def test_every_option_has_a_default_and_a_description(model: type[Options]) -> None:
    assert model() == model.model_validate({})
    assert all(field.description for field in model.model_fields.values())


@pytest.mark.parametrize("model", MODELS)
def test_an_unknown_parameter_is_refused(model: type[Options]) -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        model.model_validate({"target_crss": "EPSG:4326"})


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (RasterCogOptions, {"jpeg_quality": True}),
        (RasterCogOptions, {"jpeg_quality": 0}),
        (RasterCogOptions, {"jpeg_quality": "85"}),
        (RasterCogOptions, {"output_folder": "../out"}),
        (VectorFeaturesOptions, {"simplify_tolerance": True}),
        (VectorFeaturesOptions, {"simplify_tolerance": 0.0}),
        (VectorFeaturesOptions, {"overwrite": 1}),
        (ItemOptions, {"datetime_utc": "2021-01-01"}),
        (ItemOptions, {"datetime_utc": "yesterday"}),
        (ItemOptions, {"item_id": "../x"}),
    ],
)
def test_an_invalid_value_is_refused(model: type[Options], values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        model.model_validate(values)


def test_an_acquisition_time_keeps_its_zone() -> None:
    acquired = ItemOptions(datetime_utc="2021-06-30T10:15:00+02:00").acquired_at
    assert acquired is not None
    assert acquired.isoformat() == "2021-06-30T10:15:00+02:00"


@pytest.mark.parametrize(
    "text",
    [
        "yesterday",
        "2021-06-30",
        "2021-06-30T10:15:00",
        "0001-01-01T00:00:00+14:00",
        "2021-13-01T00:00:00Z",
    ],
)
def test_an_invalid_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValidationError, match="for example 2021-06-30T10:15:00Z"):
        ItemOptions(datetime_utc=text)
