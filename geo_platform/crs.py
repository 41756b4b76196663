"""Comparing coordinate reference systems. What stays out: transforming coordinates."""

from pyproj import CRS


def same_crs(one: str, other: str) -> bool:
    """Whether two descriptions (authority code, WKT) mean one system; axis order is not compared, since data is always x, y.

    Raises pyproj.exceptions.CRSError where one of them is no CRS.
    """
    return bool(CRS.from_user_input(one).equals(CRS.from_user_input(other), ignore_axis_order=True))
