"""Give a route the rights of the caller, for example:

    def tile(collection: str, item_id: str, rights: ReadRights) -> Response: ...

`serving/rights.py` decides what the rights allow. A module of its own, so that only this one knows
both principals and rights.

Called by the routes of `api/serving`.

Used by `api/serving`.
"""

from typing import Annotated

from fastapi import Depends

from geo_platform.api.auth.authentication import Reader
from geo_platform.serving.rights import Rights


async def rights_of(principal: Reader) -> Rights:
    """Return what the principal of the request may read."""
    return Rights(principal.containers, principal.datasets, principal.collections)


ReadRights = Annotated[Rights, Depends(rights_of)]
