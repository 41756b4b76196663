"""The fingerprint: one short name for (source bytes, request, recipe version). It is the data version of every output.

Each stage extends its predecessor's: fingerprint(stage) = H(fingerprint(before), stage, version, options). So the
last one is known before anything ran, and "already done" is a look-up.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

# Raised by hand when a stage would make something else of the same input.
RECIPE_VERSIONS: Mapping[str, int] = {
    "raw_raster": 1,
    "raster_profile": 1,
    "raster_cog": 1,
    "raster_item": 1,
    "raw_vector": 1,
    "vector_profile": 1,
    "vector_features": 1,
    "vector_item": 1,
}


def extend(before: str, stage: str, options: Mapping[str, Any]) -> str:
    """32 hex digits. `options` must be JSON values, NaN and infinity among them; their order does not matter."""
    text = json.dumps(
        [before, stage, RECIPE_VERSIONS[stage], options], sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha256(text.encode()).hexdigest()[:32]
