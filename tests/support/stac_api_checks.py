"""Run stac-api-validator with the schemas of this machine, which it would fetch otherwise.

`tests/e2e/test_serving_clients.py` runs it with the arguments of stac-api-validator. The schemas of
the STAC core are in pystac, those of the extensions are of `catalog/validate.py`.
"""

import json
import sys
from importlib.resources import files
from typing import Any

import stac_validator.utilities
from pystac.validation.local_validator import get_local_schema_cache
from stac_api_validator.__main__ import main

# No package has these schemas: everything is valid by them.
_WITHOUT_SCHEMA = ("raster/v2.0.0", "alternate-assets/v1.2.0")


def schemas() -> dict[str, Any]:
    """Return the schemas by their address."""
    found: dict[str, Any] = dict(get_local_schema_cache())
    for entry in files("geo_platform.catalog").joinpath("schemas").iterdir():
        if entry.name.endswith(".json"):
            schema = json.loads(entry.read_text("utf-8"))
            found[schema["$id"].rstrip("#")] = schema
    for name in _WITHOUT_SCHEMA:
        found[f"https://stac-extensions.github.io/{name}/schema.json"] = {}
    return found


def without_internet() -> None:
    """Let the validator read schemas from memory, and nothing from another host."""
    known, fetch = schemas(), stac_validator.utilities.fetch_and_parse_file

    def read(address: str, headers: dict[str, str] | None = None) -> Any:
        if address.rstrip("#") in known:
            return known[address.rstrip("#")]
        if not address.startswith("http://127.0.0.1:"):
            raise ValueError(f"There is no schema {address} on this machine.")
        return fetch(address, headers)

    for module in list(sys.modules.values()):
        if getattr(module, "fetch_and_parse_file", None) is fetch:
            module.fetch_and_parse_file = read


if __name__ == "__main__":
    without_internet()
    main()
