"""Find the type of a column of CSV or GML, so that no digit of a value is lost.

Neither format declares types in the file. A column gets a type if every non-empty value fits it;
any other column is text. A number is one only if its digits say nothing more than its value: codes
such as 007, +49 or 1E5 are text, and so are integers that no type holds.

Called by `columns.py` and `csv_profile.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from geo_platform.contracts.message import Finding
from geo_platform.contracts.vector import FieldType, SourceField

_INTEGER = r"^(0|-?[1-9]\d{0,18})$"
# 15 digits before the point are exact in a double.
_PLAIN_NUMBER = r"^([-+]?(0|[1-9]\d{0,14})?\.\d*|-?(0|[1-9]\d{0,14}))$"
# Programs write an exponent with a decimal point or a sign (1.0E5, 1e+05, 1e-05); 1E5 is a code.
_NUMBER = r"^([-+]?(0|[1-9]\d{0,14})?\.\d*([eE][-+]?\d+)?|-?(0|[1-9]\d{0,14})([eE][-+]\d+)?)$"
_DATE = r"^\d{4}-\d{2}-\d{2}$"
_TIMESTAMP = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?$"
_CLOCK = r"^([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?$"
_TRUTH = r"^(true|false)$"
_INSTANT = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[-+]\d{2}:?\d{2})$"
# Values of a text column in which a person sees numbers.
_LOOKS_LIKE_NUMBER = r"^\s*[-+]?(0|[1-9]\d*)([.,]\d+)?([eE][-+]?\d+)?\s*$"
# 17 digits identify every double. The digits after them are lost.
_BEYOND_DOUBLE = r"^[-+]?[0.]*[1-9](\.?\d){17}"
_MAX_EXACT_CHARACTERS = 18
# An integer of so many characters is exact in a double.
_MAX_INTEGER_CHARACTERS = 15


@dataclass(frozen=True)
class _TextType:
    """A candidate type of a column. Each value must match `pattern` and cast to `arrow`."""

    pattern: str
    arrow: pa.DataType
    field_type: FieldType
    is_utc: bool = False

    def fits(self, values: pa.Array) -> bool:
        return _all_match(values, self.pattern) and self.casts(values)

    def casts(self, values: pa.Array) -> bool:
        try:
            values.cast(self.arrow)
        except pa.ArrowInvalid:
            return False
        return True


_INT64 = _TextType(_INTEGER, pa.int64(), FieldType.int64)
_FLOAT64 = _TextType(_PLAIN_NUMBER, pa.float64(), FieldType.float64)
_LOCAL = _TextType(_TIMESTAMP, pa.timestamp("us"), FieldType.timestamp)
_ZONED = _TextType(_INSTANT, pa.timestamp("us", tz="UTC"), FieldType.timestamp, is_utc=True)
_TEXT_TYPES = (
    _INT64,
    _FLOAT64,
    _TextType(_DATE, pa.date32(), FieldType.date),
    _LOCAL,
    _ZONED,
)
# The texts that XML Schema, part 2, defines for these types.
_XML_TYPES = (
    *_TEXT_TYPES,
    _TextType(_TRUTH, pa.bool_(), FieldType.boolean),
    _TextType(_CLOCK, pa.string(), FieldType.time),
)


@dataclass
class ColumnTypes:
    """The types that all values of a column fit, and how its numbers are written.

    `looks_like_numbers` and the facts of times are only of interest if the column is text, the
    other two if it is float64. `has_zoned` and `has_local` mean times with and without a zone.
    """

    possible: list[_TextType] = field(default_factory=lambda: list(_TEXT_TYPES))
    has_values: bool = False
    looks_like_numbers: bool = True
    are_times: bool = True
    has_zoned: bool = False
    has_local: bool = False
    has_exponents: bool = False
    loses_digits: bool = False

    @classmethod
    def text(cls) -> "ColumnTypes":
        """Return the types of a column that is declared as text."""
        return cls(possible=[], looks_like_numbers=False, are_times=False)

    @classmethod
    def of_xml(cls) -> "ColumnTypes":
        """Return the types of a column of XML, which can be truth values and times of day too."""
        return cls(possible=list(_XML_TYPES))

    @property
    def is_text(self) -> bool:
        return not self.has_values or not self.possible

    @property
    def is_float(self) -> bool:
        return not self.is_text and self.possible[0].field_type is FieldType.float64

    def add(self, column: pa.Array) -> None:
        """Take the next values of the column, as text, into account."""
        values = column.drop_null()
        if len(values) == 0:
            return
        self.has_values = True
        longest = pc.max(pc.binary_length(values)).as_py()
        are_integers = _INT64 in self.possible and _INT64.fits(values)
        are_numbers = _FLOAT64 in self.possible and (
            (are_integers and longest <= _MAX_INTEGER_CHARACTERS) or self._are_floats(values)
        )
        self.possible = [
            text_type
            for text_type in self.possible
            if (text_type is _INT64 and are_integers)
            or (text_type is _FLOAT64 and are_numbers)
            or (text_type not in (_INT64, _FLOAT64) and text_type.fits(values))
        ]
        if self.are_times:
            self._add_times(values)
        if not are_integers and not are_numbers:
            self.looks_like_numbers &= _all_match(values, _LOOKS_LIKE_NUMBER)
        elif are_numbers and longest > _MAX_EXACT_CHARACTERS:
            self.loses_digits = self.loses_digits or _any_match(values, _BEYOND_DOUBLE)

    def _add_times(self, values: pa.Array) -> None:
        if _ZONED in self.possible:
            self.has_zoned = True
        elif _LOCAL in self.possible:
            self.has_local = True
        else:
            self.are_times = _all_match(values, f"{_TIMESTAMP}|{_INSTANT}")
            self.has_zoned = self.has_zoned or _any_match(values, _INSTANT)
            self.has_local = self.has_local or _any_match(values, _TIMESTAMP)

    def _are_floats(self, values: pa.Array) -> bool:
        if _FLOAT64.fits(values):
            return True
        if not _all_match(values, _NUMBER) or not _FLOAT64.casts(values):
            return False
        self.has_exponents = True
        # A number beyond the range of a double becomes infinite.
        return bool(pc.all(pc.is_finite(values.cast(pa.float64()))).as_py())

    def described(self, name: str, source_type: str = "text") -> SourceField:
        """Return the field of the profile."""
        if self.is_text:
            return SourceField(name=name, type=FieldType.string, source_type=source_type)
        chosen = self.possible[0]
        return SourceField(
            name=name, type=chosen.field_type, source_type=source_type, is_utc=chosen.is_utc
        )


def text_findings(names: Sequence[str], columns: Sequence[ColumnTypes]) -> tuple[Finding, ...]:
    """Name numbers and times that stay text, and numbers that change their form."""
    mixed = [
        column.is_text and column.are_times and column.has_zoned and column.has_local
        for column in columns
    ]
    as_text = [column.is_text and column.looks_like_numbers for column in columns]
    with_exponents = [column.is_float and column.has_exponents for column in columns]
    rounded = [column.is_float and column.loses_digits for column in columns]
    findings = (
        ("NUMBERS_AS_TEXT", "Published as text, because a number would lose digits", as_text),
        ("EXPONENTS_AS_NUMBERS", "Published as numbers: values with exponents", with_exponents),
        ("TIMES_MIXED", "Published as text, because only some times have a zone", mixed),
        ("DIGITS_ROUNDED", "Rounded to about 16 digits, as float64 holds them", rounded),
    )
    return tuple(
        Finding(code=code, message=f"{message}: {listed}.")
        for code, message, flags in findings
        if (
            listed := ", ".join(
                repr(name)
                for name, column, flag in zip(names, columns, flags, strict=True)
                if flag and column.has_values
            )
        )
    )


def _all_match(values: pa.Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(values, pattern)).as_py())


def _any_match(values: pa.Array, pattern: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(values, pattern)).as_py())
