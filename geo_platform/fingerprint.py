"""The fingerprint: a hash of the source's etag, the options and the versions of the stages.

Every result has a fingerprint as its data version. Each stage extends the fingerprint of the stage
before it. The last fingerprint is therefore known before the first stage runs, and one look-up in
the catalog shows whether the result is published already.

Used throughout the application.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """The name and version of a stage, which are part of the fingerprint.

    Raise `version` when the stage would make another result from the same input and options.
    """

    stage: str
    version: int = 1

    def extend(self, previous: str, options: Mapping[str, Any]) -> str:
        """Return the fingerprint of this stage, 32 hex digits.

        `previous` is the fingerprint of the stage before. `options` are JSON values, where NaN and
        infinity are allowed; their order does not matter.
        """
        text = json.dumps(
            [previous, self.stage, self.version, options], sort_keys=True, separators=(",", ":")
        )
        return hashlib.sha256(text.encode()).hexdigest()[:32]
