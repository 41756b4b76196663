"""Fixtures that the commands' tests share with the catalog's: messages to publish, and a catalog."""

from tests.unit.catalog.conftest import catalog, make_cogs, make_features, objects

__all__ = ["catalog", "make_cogs", "make_features", "objects"]
