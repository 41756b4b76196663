"""Which columns are to be indexed, checked against those that will be published. What stays out: making indexes; stores do."""

from collections.abc import Sequence

from geo_platform.contracts.vector import FieldMapping, FieldType
from geo_platform.errors import ParameterInvalid
from geo_platform.ports import IndexRequest
from geo_platform.vector.options import VectorFeaturesOptions

_TIMES = frozenset({FieldType.date, FieldType.time, FieldType.timestamp})


def plan_indexes(options: VectorFeaturesOptions, fields: Sequence[FieldMapping]) -> IndexRequest:
    """Raises ParameterInvalid where a column is not published, or is to have a temporal index and holds no times."""
    types = {field.published: field.type for field in fields}
    unknown = [name for name in (*options.indexes_attributes, *options.indexes_temporal) if name not in types]
    if unknown:
        raise ParameterInvalid(f"Columns to index are not published: {', '.join(unknown)}. There are: {', '.join(types) or 'none'}.")
    timeless = [name for name in options.indexes_temporal if types[name] not in _TIMES]
    if timeless:
        raise ParameterInvalid(f"Columns for a temporal index hold no times: {', '.join(timeless)}.")
    return IndexRequest(options.indexes_spatial, tuple(options.indexes_attributes), tuple(options.indexes_temporal))
