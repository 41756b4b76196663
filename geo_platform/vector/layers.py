"""Which layer is meant. Pure."""

from collections.abc import Sequence

from geo_platform.contracts.vector import VectorLayer
from geo_platform.errors import LayerAmbiguous, LayerNotFound, NoGeometry

_SHOWN = 50


def choose_layer(layers: Sequence[VectorLayer], wanted: str | None, display_name: str) -> VectorLayer:
    """The layer asked for, or the only one with geometry.

    Raises LayerNotFound, LayerAmbiguous, NoGeometry; each names the layers that are there.
    """
    names = _listed(layers)
    if wanted is not None:
        chosen = next((layer for layer in layers if layer.name == wanted), None)
        if chosen is None:
            raise LayerNotFound(
                f"{display_name} has no layer {wanted!r}. It has: {names}.", layers=[layer.name for layer in layers[:_SHOWN]]
            )
        if chosen.geometry_type is None:
            raise NoGeometry(f"Layer {wanted!r} of {display_name} is a table without geometry.", remedy="Choose a layer with geometry.")
        return chosen
    spatial = [layer for layer in layers if layer.geometry_type is not None]
    if not spatial:
        raise NoGeometry(f"No layer of {display_name} has geometry. It has: {names or 'no layers'}.", remedy="Check the export.")
    if len(spatial) > 1:
        raise LayerAmbiguous(
            f"{display_name} has {len(spatial)} layers with geometry: {_listed(spatial)}.",
            layers=[layer.name for layer in spatial[:_SHOWN]],
        )
    return spatial[0]


def _listed(layers: Sequence[VectorLayer]) -> str:
    text = ", ".join(repr(layer.name) for layer in layers[:_SHOWN])
    return text + (f" and {len(layers) - _SHOWN} more" if len(layers) > _SHOWN else "")
