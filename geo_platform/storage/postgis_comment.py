"""What a table says of itself: its comment, a JSON object. What a table is follows from it and from the schema that it lies in.

What belongs here: the words. What stays out: reading them for publication (`pgstac_tables.py`).
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from geo_platform.ports import FeatureTarget
from geo_platform.storage.pgstac_tables import read_comment


def comment_while_loading(target: FeatureTarget, version: str, started_at_utc: datetime) -> str:
    """Without `version`, so that nobody takes the table for a whole one; the sweep knows by it when the load began."""
    return _text({"loading": version, **_origin(target), "started_at_utc": started_at_utc.isoformat()})


def comment_when_whole(
    target: FeatureTarget, version: str, *, rows: int, base_version: str | None, started_at_utc: datetime, loaded_at_utc: datetime
) -> str:
    """`rows` are the table's, of which an append loaded some. `base_version` is the live version that an append built on."""
    return _text(
        {
            "title": target.dataset,
            "description": f"{target.geometry_type} features from {target.metadata['source_uri']}, in {_crs(target)}.",
            "version": version,
            **_origin(target),
            "load_mode": target.load_mode,
            "base_version": base_version,
            "rows": rows,
            "started_at_utc": started_at_utc.isoformat(),
            "loaded_at_utc": loaded_at_utc.isoformat(),
        }
    )


def whole_version(comment: str | None) -> dict[str, Any] | None:
    """What the comment of a whole table of ours says; None for one that is being loaded, and for somebody else's."""
    return read_comment(comment)


def began_at_utc(comment: str | None) -> datetime | None:
    """When the load of a table of ours began, whole or not; None where the comment is not ours."""
    try:
        return datetime.fromisoformat(json.loads(comment or "")["started_at_utc"])
    except (ValueError, TypeError, KeyError):
        return None


def _origin(target: FeatureTarget) -> dict[str, str]:
    metadata: Mapping[str, str] = target.metadata
    return {
        "dataset": target.dataset,
        "run_id": metadata["run_id"],
        "fingerprint": target.fingerprint,
        "source_uri": metadata["source_uri"],
        "source_etag": metadata.get("source_etag", ""),
    }


def _crs(target: FeatureTarget) -> str:
    return target.crs.authority_code or "a CRS without a code"


def _text(says: Mapping[str, Any]) -> str:
    return json.dumps(says, ensure_ascii=False)
