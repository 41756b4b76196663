"""Load the rows of a layer of mixed geometry as one dataset for each geometry family.

Which families a layer has, and so the names of its datasets, is known after its last row. The clean
rows are therefore written to one scratch file for each family first. If a row cannot be cleaned or
read, no dataset has been loaded yet.

Called by `chains/vector.py` and `load.py`.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from geo_platform.ports import FeatureDataset, FeatureStore, FeatureTarget
from geo_platform.vector.field_names import GEOMETRY_COLUMN, MAX_NAME_LENGTH
from geo_platform.vector.geometry_families import TYPE_OF, Family, families_of_codes
from geo_platform.vector.plan import FeaturePlan
from geo_platform.wkb import wkb_types

# How a dataset's name ends, and how messages and items name the family.
SUFFIX_OF: dict[Family, str] = {
    Family.point: "points",
    Family.line: "lines",
    Family.polygon: "polygons",
    Family.collection: "collections",
}


def name_of_family(dataset: str, family: Family) -> str:
    """Return the name of the family's dataset: `parcels` -> `parcels_points`, at most 63 letters.

    A long name is cut before the suffix.
    """
    suffix = f"_{SUFFIX_OF[family]}"
    return dataset[: MAX_NAME_LENGTH - len(suffix)].rstrip("_") + suffix


def planned_datasets(plan: FeaturePlan) -> list[tuple[str, str]]:
    """Return (name, geometry type) of each planned dataset, as far as the sampled rows show."""
    if not plan.is_split:
        return [(plan.dataset, plan.geometry_type)]
    return [(name_of_family(plan.dataset, family), TYPE_OF[family]) for family in plan.families]


def load_families(
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    target_of: Callable[[Family], FeatureTarget],
    features: FeatureStore,
    *,
    scratch: Path,
) -> list[tuple[Family, FeatureDataset]]:
    """Load the batches, which have this schema, into one dataset for each family that occurs.

    Raises what `batches`, `FeatureStore.check_free` and `FeatureStore.load` raise.
    """
    folder = scratch / "families"
    folder.mkdir(parents=True, exist_ok=True)
    rows = _spool(batches, schema, folder)
    # All names are checked before anything is written.
    targets = {family: target_of(family) for family in Family if rows.get(family)}
    for target in targets.values():
        features.check_free(target)
    return [
        (family, features.load(target, _rows_of(folder, family), scratch=folder / family))
        for family, target in targets.items()
    ]


@dataclass
class _Files:
    """The open scratch files, one for each family that occurred."""

    folder: Path
    schema: pa.Schema
    closing: ExitStack
    writers: dict[Family, pa.ipc.RecordBatchStreamWriter] = field(default_factory=dict)

    def writer(self, family: Family) -> pa.ipc.RecordBatchStreamWriter:
        if family not in self.writers:
            sink = self.closing.enter_context(pa.OSFile(str(_path(self.folder, family)), "wb"))
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self.writers[family] = self.closing.enter_context(
                pa.ipc.new_stream(sink, self.schema, options=options)
            )
        return self.writers[family]


def _spool(batches: Iterable[pa.RecordBatch], schema: pa.Schema, folder: Path) -> dict[Family, int]:
    """Write the rows of each family to a scratch file. Return the number of rows by family."""
    rows: dict[Family, int] = {}
    with ExitStack() as closing:
        files = _Files(folder, schema, closing)
        for batch in batches:
            families = families_of_codes(wkb_types(batch.column(GEOMETRY_COLUMN)).codes)
            for family in Family:
                chosen = families == family
                if chosen.any():
                    part = batch if chosen.all() else batch.filter(pa.array(chosen))
                    files.writer(family).write_batch(part)
                    rows[family] = rows.get(family, 0) + part.num_rows
    return rows


def _rows_of(folder: Path, family: Family) -> Iterator[pa.RecordBatch]:
    path = _path(folder, family)
    with pa.OSFile(str(path), "rb") as source, pa.ipc.open_stream(source) as reader:
        yield from reader
    path.unlink()


def _path(folder: Path, family: Family) -> Path:
    return folder / f"{family}.arrow"
