"""The inventory of a home whose datasets are files: there is no database to look into."""

from collections.abc import Iterator

from geo_platform.ports import StoredTable


class NoTables:
    """Implements `ports.Inventory` where datasets are files."""

    def tables(self) -> Iterator[StoredTable]:
        return iter(())

    def drop_staged(self, name: str, run_id: str) -> bool:
        return False

    def was_withdrawn(self, collection: str, item_id: str) -> bool:
        return False
