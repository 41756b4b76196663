"""Band maths: check an expression against a bounded grammar, and evaluate it.

The grammar is rio-tiler's, on the bands `b1`, `b2` and so on: arithmetic, comparisons, `& | ^ ~`
and the functions of numexpr. Several expressions are separated by `;`. It is bounded further, so
that no expression is expensive: see `MAX_LENGTH`, `MAX_TERMS` and `MAX_EXPONENT`.

Called by `painting.py` and `rasters.py`.
"""

import ast
import re
from dataclasses import dataclass

import numpy as np

from geo_platform.errors import ParameterInvalid
from geo_platform.serving.raster.reading import WindowPixels

MAX_LENGTH = 500
MAX_EXPRESSIONS = 4
MAX_TERMS = 100
MAX_EXPONENT = 16
MAX_NUMBER = 1e15
# Functions of one pixel. Those of all pixels (sum, min) would depend on the tile.
_EXACT = ("abs", "ceil", "floor", "fmod", "exp", "expm1", "log", "log10", "log1p", "sqrt", "where")
_ANGLES = ("arccos", "arcsin", "arctan", "arctan2", "cos", "cosh", "sin", "sinh", "tan", "tanh")
FUNCTIONS = frozenset({*_EXACT, *_ANGLES})

_BAND = re.compile(r"b([1-9][0-9]{0,3})")
_REMEDY = (
    "Use bands (b1, b2, ...), numbers, + - * / ** %, comparisons, & | ^ ~ and functions such as "
    "sqrt, log, abs and where, for example (b4-b3)/(b4+b3)."
)


@dataclass(frozen=True)
class BandExpression:
    """A checked expression. `blocks` each give one band; `bands` are those it uses, ascending."""

    text: str
    blocks: tuple[str, ...]
    bands: tuple[int, ...]

    def evaluate(self, pixels: WindowPixels) -> WindowPixels:
        """Return a band for each block, from the values of `bands` in their order.

        A pixel is valid if it is valid in every band and the result is a finite number.
        """
        import numexpr  # type: ignore[import-untyped]  # it has no types

        is_small = pixels.values.dtype.itemsize <= 2 or pixels.values.dtype == np.float32
        dtype = np.float32 if is_small else np.float64
        names = {
            f"b{band}": values.astype(dtype)
            for band, values in zip(self.bands, pixels.values, strict=True)
        }
        try:
            with np.errstate(all="ignore"):
                results = [
                    numexpr.evaluate(block, local_dict=names, global_dict={}, truediv=True)
                    for block in self.blocks
                ]
        except (TypeError, ValueError, KeyError, NotImplementedError, ArithmeticError) as error:
            raise _refused(self.text, f"it cannot be evaluated: {error}") from error
        shape = pixels.values.shape[1:]
        values = np.stack([np.broadcast_to(result, shape).astype(dtype) for result in results])
        return WindowPixels(values, np.isfinite(values) & pixels.valid.all(axis=0))


def parse_expression(text: str, band_count: int) -> BandExpression:
    """Return the expression.

    Raises ParameterInvalid: it is not one of the grammar, is too long, or names a band that the
    raster does not have.
    """
    if len(text) > MAX_LENGTH:
        raise _refused(text[:40], f"it has more than {MAX_LENGTH} characters")
    blocks = tuple(block.strip().lower() for block in text.split(";") if block.strip())
    if not 1 <= len(blocks) <= MAX_EXPRESSIONS:
        raise _refused(text, f"it has not 1 to {MAX_EXPRESSIONS} parts")
    bands: set[int] = set()
    terms = 0
    for block in blocks:
        tree = _tree(text, block)
        for node in ast.walk(tree):
            terms += 1
            _check(text, node)
            if isinstance(node, ast.Name) and (match := _BAND.fullmatch(node.id)):
                bands.add(int(match[1]))
    if terms > MAX_TERMS * 2:
        raise _refused(text, f"it has more than {MAX_TERMS} terms")
    if not bands:
        raise _refused(text, "it uses no band")
    if missing := sorted(band for band in bands if band > band_count):
        raise _refused(text, f"the raster has {band_count} bands, and no b{missing[0]}")
    return BandExpression(text, blocks, tuple(sorted(bands)))


def _tree(text: str, block: str) -> ast.Expression:
    from rio_tiler.errors import InvalidExpression
    from rio_tiler.expression import validate_expression

    try:
        validate_expression(block)
        return ast.parse(block, mode="eval")
    except (InvalidExpression, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _refused(text, "it is not an expression of bands") from error


def _check(text: str, node: ast.AST) -> None:
    """Check what rio-tiler leaves open: names, and numbers that numexpr would fold for ever."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            raise _refused(text, f"{node.value!r} is not a number")
        if abs(node.value) > MAX_NUMBER:
            raise _refused(text, f"{node.value!r} is too large")
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        exponent = node.right.operand if isinstance(node.right, ast.UnaryOp) else node.right
        number = exponent.value if isinstance(exponent, ast.Constant) else None
        if not isinstance(number, int | float) or abs(number) > MAX_EXPONENT:
            raise _refused(text, f"an exponent must be a number of at most {MAX_EXPONENT}")
        if not any(isinstance(inner, ast.Name) for inner in ast.walk(node.left)):
            raise _refused(text, "a number to a power is a number: write it as one")
    if isinstance(node, ast.Call) and (node.keywords or not 1 <= len(node.args) <= 3):
        raise _refused(text, "a function takes one to three values")
    if isinstance(node, ast.Name) and not _BAND.fullmatch(node.id) and node.id not in FUNCTIONS:
        raise _refused(text, f"{node.id!r} is neither a band nor a function")


def _refused(text: str, reason: str) -> ParameterInvalid:
    return ParameterInvalid(f"The expression {text!r} is refused: {reason}.", remedy=_REMEDY)
