"""Write a generated raster as a file, with the sidecars that it needs.

The generator knows every pixel, so a lossless file needs no reader. `read_by_gdal` reads a file by
Debian's GDAL, which is another one than rasterio's.
"""

import json
import struct
import subprocess
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from pyproj import CRS
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning

from tests.differential.generated_raster_files import Drawn
from tests.differential.generated_rasters import (
    Mask,
    Pixels,
    Raster,
    can_hold,
)


@dataclass(frozen=True)
class Written:
    """A file, its sidecars, the options of the profile, and the raster that it holds."""

    path: Path
    raster: Raster
    sidecars: tuple[Path, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


def write(drawn: Drawn, folder: Path) -> Written:
    """Write the raster and its sidecars to the folder."""
    path = folder / f"raster{drawn.extension}"
    raster = drawn.raster
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        written = _WRITERS[drawn.extension](drawn, path)
    sidecars, options = list(written.sidecars), dict(written.options)
    if drawn.georeference in ("world", "aux") or drawn.extension == ".asc":
        is_aux = drawn.georeference == "aux"
        if drawn.georeference == "world":
            letters = drawn.extension[1] + drawn.extension[3] + "w"
            sidecars.append(path.with_suffix(f".{letters}"))
            here = raster.transform @ Affine.translation(0.5, 0.5)
            numbers = (here.a, here.d, here.b, here.e, here.c, here.f)
            sidecars[-1].write_text("".join(f"{number!r}\n" for number in numbers))
        elif is_aux:
            sidecars.append(path.with_name(f"{path.name}.aux.xml"))
            sidecars[-1].write_text(_aux_xml(raster))
        if not is_aux and drawn.has_crs_beside:
            sidecars.append(path.with_suffix(".prj"))
            version = "WKT1_ESRI" if raster.place.crs.startswith("EPSG") else "WKT2_2019"
            sidecars[-1].write_text(CRS(raster.place.crs).to_wkt(version))
        elif not is_aux:
            options["input_crs"] = raster.place.crs
    return replace(written, sidecars=tuple(sidecars), options=options)


def _aux_xml(raster: Raster) -> str:
    root = ElementTree.Element("PAMDataset")
    crs = CRS(raster.place.crs)
    ElementTree.SubElement(root, "SRS", dataAxisToSRSAxisMapping=_mapping(crs)).text = crs.to_wkt()
    numbers = raster.transform.to_gdal()
    ElementTree.SubElement(root, "GeoTransform").text = ", ".join(map(repr, numbers))
    return ElementTree.tostring(root, encoding="unicode")


def _mapping(crs: CRS) -> str:
    return "1,2" if crs.axis_info[0].direction == "east" or crs.is_projected else "2,1"


def _write_by_gdal(drawn: Drawn, path: Path) -> Written:
    """Write by GDAL."""
    raster = drawn.raster
    bands, rows, cols = raster.pixels.shape
    header: dict[str, Any] = {"width": cols, "height": rows, "count": bands}
    places: dict[str, Any] = {}
    if drawn.georeference == "inside":
        places = {"crs": raster.place.crs, "transform": raster.transform}
    elif drawn.georeference == "points":
        places = {"crs": raster.place.crs, "gcps": _points(raster)}
    is_direct = drawn.extension == ".tif" and _is_written_as_it_is(raster)
    base = path if is_direct else path.with_name("base.tif")
    layout = raster.layout | ({"NBITS": str(raster.bits)} if raster.bits else {})
    if bands in (3, 4) and drawn.extension != ".img" and not raster.alpha:
        places["photometric"] = "RGB"
    if is_direct:
        places |= layout | {"nodata": raster.nodata}
    with rasterio.open(
        base, "w", driver="GTiff", dtype=raster.pixels.dtype, **header, **places
    ) as target:
        if raster.palette:
            target.write_colormap(1, dict(enumerate(raster.palette)))
        elif raster.alpha:
            target.colorinterp = [
                ColorInterp.alpha if band == raster.alpha else ColorInterp.undefined
                for band in target.indexes
            ]
        if raster.is_point:
            target.update_tags(AREA_OR_POINT="Point")
        target.scales, target.offsets = (raster.scale,) * bands, (raster.offset,) * bands
        target.write(raster.pixels)
    if not is_direct:
        _copy(drawn, base, path, layout)
    sidecars = list(path.parent.glob(f"{path.name}.*"))
    if raster.masks is not None:
        sidecars.append(_write_masks(path, raster.masks, bands))
    return Written(path, raster, tuple(sidecars))


def _is_written_as_it_is(raster: Raster) -> bool:
    # rasterio refuses nodata values that no pixel can have, and rounds integers of 64 bits.
    return raster.nodata is None or (
        "int64" not in raster.pixels.dtype.name and can_hold(raster.pixels.dtype, raster.nodata)
    )


def _copy(drawn: Drawn, base: Path, path: Path, layout: dict[str, str]) -> None:
    """Copy the TIFF to the format, with the nodata value and the transparent entries."""
    raster = drawn.raster
    driver = {".tif": "GTiff", ".img": "HFA", ".jp2": "JP2OpenJPEG", ".jpg": "JPEG"}
    if drawn.extension == ".jp2":
        layout |= {"QUALITY": "100", "REVERSIBLE": "YES", "YCC": "NO"}
    virtual = path.with_name("base.vrt")
    rasterio.shutil.copy(base, virtual, driver="VRT")
    root = ElementTree.parse(virtual).getroot()  # noqa: S314  # written a line above
    for band in root.findall("VRTRasterBand"):
        if raster.nodata is not None and drawn.extension != ".jpg":
            ElementTree.SubElement(band, "NoDataValue").text = str(raster.nodata)
        if raster.palette:
            # A TIFF, from which the VRT is, has no transparent entries.
            for color, entry in zip(raster.palette, band.findall("ColorTable/Entry"), strict=False):
                entry.set("c4", str(color[3]))
    virtual.write_text(ElementTree.tostring(root, encoding="unicode"))
    with rasterio.open(virtual) as source:
        rasterio.shutil.copy(source, path, driver=driver[drawn.extension], **layout)
    base.unlink()
    virtual.unlink()


def _points(raster: Raster) -> list[GroundControlPoint]:
    *_, rows, cols = raster.pixels.shape
    places = [(0, 0), (0, cols), (rows, 0), (rows, cols), (rows / 2, cols / 3)]
    found = []
    for number, (row, col) in enumerate(places):
        x, y = raster.transform @ (col, row)
        found.append(GroundControlPoint(row=row, col=col, x=x, y=y, id=str(number)))
    return found


def _write_masks(path: Path, masks: Mask, bands: int) -> Path:
    """Write a .msk, with the flags of each band: 2 for one mask of all, 0 for one of each.

    Source: GDAL RFC 15.
    """
    mask = path.with_name(f"{path.name}.msk")
    count, rows, cols = masks.shape
    header: dict[str, Any] = {"count": count, "height": rows, "width": cols, "dtype": "uint8"}
    with rasterio.open(mask, "w", driver="GTiff", compress="DEFLATE", **header) as target:
        target.update_tags(
            **{f"INTERNAL_MASK_FLAGS_{n}": 2 if count == 1 else 0 for n in range(1, bands + 1)}
        )
        target.write(masks.astype("uint8") * 255)
    return mask


def _write_photograph(drawn: Drawn, path: Path) -> Written:
    """Write a JPEG, whose pixels are those that GDAL decodes; two decoders differ in colours."""
    written = _write_by_gdal(drawn, path)
    with rasterio.open(path) as dataset:
        pixels = dataset.read()
    if len(pixels) == 1:
        decoded, _ = read_by_gdal(path, "uint8")
        assert np.abs(decoded.astype(int) - pixels).max() <= 1
    return replace(written, raster=replace(drawn.raster, pixels=pixels))


def _write_text_grid(drawn: Drawn, path: Path) -> Written:
    raster = drawn.raster
    _, rows, cols = raster.pixels.shape
    transform = raster.transform
    half = 0.5 if raster.layout["corner"] == "center" else 0.0
    west, south = transform @ (half, rows - half)
    lines = [f"ncols {cols}", f"nrows {rows}"]
    lines += [f"xll{raster.layout['corner']} {west!r}", f"yll{raster.layout['corner']} {south!r}"]
    if transform.a == -transform.e:
        lines.append(f"cellsize {transform.a!r}")
    else:
        lines += [f"dx {transform.a!r}", f"dy {-transform.e!r}"]
    if raster.nodata is not None:
        lines.append(f"NODATA_value {raster.nodata}")
    lines += [" ".join(str(value) for value in row) for row in raster.pixels[0].tolist()]
    path.write_text(raster.layout["newline"].join([*lines, ""]), newline="")
    # The format's own value where the file names none.
    return Written(path, replace(raster, nodata=-9999 if raster.nodata is None else raster.nodata))


def _write_picture(drawn: Drawn, path: Path) -> Written:
    """Write a PNG by the specification, https://www.w3.org/TR/png."""
    raster = drawn.raster
    _, rows, cols = raster.pixels.shape
    depth, color_type = int(raster.layout["depth"]), int(raster.layout["color_type"])
    samples = np.moveaxis(raster.pixels, 0, -1).reshape(rows, -1)
    if depth < 8:
        bits = (samples[:, :, None] >> np.arange(depth - 1, -1, -1)) & 1
        lines = [row.tobytes() for row in np.packbits(bits.reshape(rows, -1).astype("u1"), axis=1)]
    else:
        lines = [row.astype(">u2" if depth == 16 else "u1").tobytes() for row in samples]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", cols, rows, depth, color_type, 0, 0, 0))]
    if raster.palette:
        chunks.append((b"PLTE", bytes(n for entry in raster.palette for n in entry[:3])))
        if any(entry[3] == 0 for entry in raster.palette):
            chunks.append((b"tRNS", bytes(entry[3] for entry in raster.palette)))
    elif raster.color:
        chunks.append((b"tRNS", struct.pack(f">{len(raster.color)}H", *raster.color)))
    chunks += [(b"IDAT", zlib.compress(b"".join(b"\0" + line for line in lines))), (b"IEND", b"")]
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
            for name, content in chunks
        )
    )
    masks = () if raster.masks is None else (_write_masks(path, raster.masks, len(raster.pixels)),)
    return Written(path, raster, masks)


def _write_tile(drawn: Drawn, path: Path) -> Written:
    lon, lat = int(drawn.raster.place.west), int(drawn.raster.place.north) - 1
    name = f"{'S' if lat < 0 else 'N'}{abs(lat):02}{'W' if lon < 0 else 'E'}{abs(lon):03}.hgt"
    path = path.with_name(name)
    path.write_bytes(drawn.raster.pixels.astype(">i2").tobytes())
    return Written(path, drawn.raster)


_WRITERS: dict[str, Callable[[Drawn, Path], Written]] = {
    ".tif": _write_by_gdal,
    ".img": _write_by_gdal,
    ".jp2": _write_by_gdal,
    ".jpg": _write_photograph,
    ".asc": _write_text_grid,
    ".png": _write_picture,
    ".hgt": _write_tile,
}


def read_by_gdal(path: Path, dtype: str, *, masks: bool = False) -> tuple[Pixels, Mask]:
    """Return the pixels and, if `masks`, where they are valid, as Debian's GDAL copies them.

    Both have the shape (bands, rows, cols).
    """
    count = len(header_by_gdal(path)["bands"])
    chosen = [str(band) for band in range(1, count + 1)]
    chosen += [f"mask,{band}" for band in chosen if masks]
    copy = path.with_name("copied_by_gdal.tif")
    plain = (
        "-of",
        "GTiff",
        "-co",
        "PROFILE=BASELINE",
        "-a_nodata",
        "none",
        "-colorinterp",
        "undefined",
    )
    parts = [part for band in chosen for part in ("-b", band)]
    subprocess.run(
        ["gdal_translate", "-q", *plain, *parts, path, copy], check=True, capture_output=True
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(copy) as dataset:
            found = dataset.read()
    if dtype != "int8" or not masks:
        return found[:count], found[count:] != 0
    # GDAL 3.6 has no type for signed bytes, and finds no negative nodata value in them.
    with rasterio.open(path) as dataset:
        return found[:count].view(dtype), dataset.read_masks() != 0


def header_by_gdal(path: Path) -> dict[str, Any]:
    """Return the header as gdalinfo of Debian's GDAL has it."""
    ended = subprocess.run(
        ["gdalinfo", "-json", "-norat", path], check=True, capture_output=True, text=True
    )
    header: dict[str, Any] = json.loads(ended.stdout)
    return header
