"""The fingerprint: one short name for (source bytes, request, recipe version).

It is the data version of every result. Each stage extends the fingerprint of the stage before it,
so that the last one is known before anything runs: "already done" is a look-up.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """What a stage adds to the fingerprint beside its options.

    `version` is raised by hand when the stage would make something else of the same input.
    """

    stage: str
    version: int = 1

    def extend(self, before: str, options: Mapping[str, Any]) -> str:
        """Return the stage's fingerprint, 32 hex digits. `before` is the previous stage's.

        `options` are JSON values, also NaN and infinity; their order does not matter.
        """
        text = json.dumps(
            [before, self.stage, self.version, options], sort_keys=True, separators=(",", ":")
        )
        return hashlib.sha256(text.encode()).hexdigest()[:32]
