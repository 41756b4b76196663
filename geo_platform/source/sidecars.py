"""Which files belong to which: world files, projections, the parts of a Shapefile. Pure: names in, names out.

What belongs here: naming conventions. What stays out: what is in the files (`companion.py`) and reading folders.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from geo_platform.contracts.arrival import SourceFormat
from geo_platform.source.formats import FORMATS

# By the extension of the image, in the order in which GDAL prefers them.
_WORLD_FILES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        ".tif": (".tfw", ".tifw", ".wld"),
        ".tiff": (".tfw", ".tiffw", ".tifw", ".wld"),
        ".gtiff": (".gfw", ".gtiffw", ".tfw", ".wld"),
        ".btf": (".bfw", ".btfw", ".tfw", ".wld"),
        ".png": (".pgw", ".pngw", ".wld"),
        ".jpg": (".jgw", ".jpgw", ".wld"),
        ".jpeg": (".jgw", ".jpegw", ".jpgw", ".wld"),
        ".jp2": (".j2w", ".jp2w", ".wld"),
        ".j2k": (".j2w", ".j2kw", ".wld"),
        ".img": (".igw", ".imgw", ".wld"),
    }
)

_SHAPEFILE_PARTS = (
    ".shx",
    ".dbf",
    ".prj",
    ".cpg",
    ".cst",
    ".qix",
    ".qpj",
    ".sbn",
    ".sbx",
    ".idm",
    ".ind",
    ".qmd",
    ".fix",
    ".ain",
    ".aih",
)
# What replaces the extension of the main file.
_BESIDE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **{
            extension: (*world, ".prj", ".aux", ".rrd", ".aux.xml")
            for extension, world in _WORLD_FILES.items()
        },
        ".img": (*_WORLD_FILES[".img"], ".prj", ".ige", ".rrd", ".rde", ".aux.xml"),
        ".asc": (".prj", ".clr"),
        ".grd": (".prj", ".clr"),
        ".shp": _SHAPEFILE_PARTS,
        ".csv": (".csvt", ".prj"),
        ".tsv": (".csvt", ".prj"),
        ".gml": (".gfs", ".xsd", ".resolved.gml"),
    }
)

_AFTER: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {".shp": (".xml",), ".gpkg": ("-wal", "-shm", "-journal"), ".gml": (".gz",)}
)
# What follows the whole name of the main file.
_AFTER_ANY_RASTER = (".aux.xml", ".msk", ".ovr", ".xml")

_ARCHIVES = (".zip", ".kmz")
_OTHER_ARCHIVES = (".gz", ".tgz", ".tar", ".bz2", ".xz", ".7z", ".rar", ".zst")
_LONELY_PARTS = (".dbf", ".shx")
_AMBIGUOUS = (".txt", ".xml")
_RASTER_EXTENSIONS = frozenset(
    ext for rule in FORMATS.values() if rule.rasterio_drivers for ext in rule.extensions
) - {".txt"}
_EXTENSIONS = frozenset(
    ext for rule in FORMATS.values() for ext in (*rule.extensions, *_ARCHIVES)
) - set(_AMBIGUOUS)
# Of those extensions to which sidecars belong there is one format each.
_FORMAT_OF_EXTENSION = MappingProxyType(
    {
        ext: source_format
        for source_format, rule in FORMATS.items()
        for ext in rule.extensions
        if ext in _EXTENSIONS - set(_ARCHIVES)
    }
)

# What stands between the dots after the stem of a source that has sidecars, and of a sidecar: tif,
# aux, xml, gpkg-wal.
_PARTS_OF_SUFFIXES = frozenset(
    part
    for main in _EXTENSIONS
    for suffix in (
        *_BESIDE.get(main, ()),
        *_AFTER.get(main, _AFTER_ANY_RASTER if main in _RASTER_EXTENSIONS else ()),
    )
    for whole in (main, suffix if suffix.startswith(".") else main + suffix)
    for part in whole[1:].split(".")
    if part
)

UNNAMED = (
    "Its name is not that of a supported format; name it by itself to have its content looked at."
)


@dataclass(frozen=True)
class SourceGroup:
    """A file that is a source, and the files that belong to it."""

    main: str
    sidecars: tuple[str, ...]


@dataclass(frozen=True)
class Grouping:
    """A partition of names: every one is a main file, the sidecar of one, or left out with the reason."""

    sources: tuple[SourceGroup, ...]
    left: tuple[tuple[str, str], ...]


def sidecars_of(name: str, siblings: Collection[str]) -> tuple[str, ...]:
    """Those of `siblings` that belong to `name`: same folder, same stem, letter case aside; in order of name."""
    wanted = _sidecar_names(name.casefold())
    return tuple(
        sorted(sibling for sibling in siblings if sibling != name and sibling.casefold() in wanted)
    )


def exposed_sidecars(
    source_format: SourceFormat, name: str, sidecars: Collection[str]
) -> dict[str, str]:
    """Staged suffix (".wld", ".tif.aux.xml") -> name of the sidecar that a driver needs. The table of docs/formats.md.

    Left out on purpose: overviews (made anew), spatial and attribute indexes, application schemas, .rrd and .aux.
    """
    by_name = {sidecar.casefold(): sidecar for sidecar in sidecars}
    canonical = FORMATS[source_format].canonical_extension
    stem, extension = _split(name.casefold())
    found = {
        ".wld": next(
            (
                by_name[stem + world]
                for world in _WORLD_FILES.get(extension, ())
                if stem + world in by_name
            ),
            None,
        )
    }
    found |= {
        suffix: by_name.get(stem + suffix) for suffix in _EXPOSED_BESIDE.get(source_format, ())
    }
    found |= {
        canonical + suffix: by_name.get(stem + extension + suffix)
        for suffix in _EXPOSED_AFTER.get(source_format, ())
    }
    if source_format not in _WITH_WORLD_FILE:
        del found[".wld"]
    return {suffix: sidecar for suffix, sidecar in found.items() if sidecar is not None}


_WITH_WORLD_FILE = frozenset(
    {
        SourceFormat.geotiff,
        SourceFormat.jpeg2000,
        SourceFormat.png,
        SourceFormat.jpeg,
        SourceFormat.erdas_imagine,
    }
)
_EXPOSED_BESIDE: Mapping[SourceFormat, tuple[str, ...]] = MappingProxyType(
    {
        SourceFormat.geotiff: (".prj",),
        SourceFormat.jpeg2000: (".prj",),
        SourceFormat.png: (".prj",),
        SourceFormat.jpeg: (".prj",),
        SourceFormat.erdas_imagine: (".ige",),
        SourceFormat.esri_ascii_grid: (".prj",),
        SourceFormat.shapefile: (".shx", ".dbf", ".prj", ".cpg"),
        SourceFormat.csv: (".csvt", ".prj"),
    }
)
_EXPOSED_AFTER: Mapping[SourceFormat, tuple[str, ...]] = MappingProxyType(
    {
        SourceFormat.geotiff: (".aux.xml", ".msk"),
        SourceFormat.jpeg2000: (".aux.xml",),
        SourceFormat.png: (".aux.xml", ".msk"),
        SourceFormat.jpeg: (".aux.xml", ".msk"),
        SourceFormat.erdas_imagine: (".aux.xml",),
        SourceFormat.esri_ascii_grid: (".aux.xml",),
        SourceFormat.srtm_hgt: (".aux.xml",),
    }
)


def group_sources(names: Iterable[str]) -> Grouping:
    """Relative names with forward slashes, as a folder walk finds them, in order of name whatever the order given.

    Names decide only what is looked at; content decides what it is. A lone .dbf or .shx is a source, which will be
    refused with what is missing. A sidecar that two sources share stands with the first.
    """
    ordered = sorted(set(names))
    left = {name: reason for name in ordered if (reason := _reason_to_leave(name)) is not None}
    rest = [name for name in ordered if name not in left]
    by_folded: dict[str, list[str]] = {}
    for name in rest:
        by_folded.setdefault(name.casefold(), []).append(name)
    taken: dict[str, str] = {}
    for main in (name for name in rest if _split(name.casefold())[1] in _EXTENSIONS):
        for sidecar in (
            name for wanted in _sidecar_names(main.casefold()) for name in by_folded.get(wanted, ())
        ):
            if sidecar != main:
                taken.setdefault(sidecar, main)
    mains = [name for name in rest if name not in taken and _is_main(name)]
    orphans = [name for name in rest if name not in taken and not _is_main(name)]
    left |= {name: _reason_for_orphan(name) for name in orphans}
    left |= {name: f"It belongs to {main!r}." for name, main in taken.items() if main not in mains}
    groups = tuple(
        SourceGroup(main, tuple(sorted(name for name, owner in taken.items() if owner == main)))
        for main in mains
    )
    return Grouping(groups, tuple(sorted(left.items())))


def stands_alone(name: str) -> bool:
    """Whether the name is that of a source that no other file belongs to, as of a GeoJSON."""
    folded = name.casefold()
    return _split(folded)[1] in _EXTENSIONS and not _sidecar_names(folded)


def set_prefix(name: str) -> str:
    """What the names of a source and of all its sidecars begin with, the same from any one of them: folder, stem and dot.

    Of a name that belongs to no set, the name itself. Letter case counts in the stem, as in a store's listing.
    """
    folder, slash, base = name.rpartition("/")
    parts = base.split(".")
    while len(parts) > 1 and parts[-1].casefold() in _PARTS_OF_SUFFIXES:
        parts.pop()
    stem = ".".join(parts)
    return name if stem == base else f"{folder}{slash}{stem}."


def format_by_name(name: str) -> SourceFormat | None:
    """What the extension says, for when the content cannot be asked. None of an archive, of a part, and of what may be anything."""
    return _FORMAT_OF_EXTENSION.get(_split(name.casefold())[1])


def seen_by_driver(name: str, siblings: Collection[str]) -> tuple[str, ...]:
    """Those of `siblings` that a driver is shown together with `name`, going by its extension, in order of name.

    Only those whose stem is written alike: a store finds names by what they begin with.
    """
    source_format = format_by_name(name)
    if source_format is None:
        return ()
    folder, slash, base = name.rpartition("/")
    stem = folder + slash + (base.rpartition(".")[0] or base)
    beside = sidecars_of(name, [sibling for sibling in siblings if sibling.startswith(stem)])
    return tuple(sorted(exposed_sidecars(source_format, name, beside).values()))


def is_hidden(name: str) -> bool:
    """Dot files, and the shadow files that macOS puts into archives."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _sidecar_names(folded: str) -> list[str]:
    stem, extension = _split(folded)
    beside = [stem + suffix for suffix in _BESIDE.get(extension, ())]
    after = _AFTER.get(extension, _AFTER_ANY_RASTER if extension in _RASTER_EXTENSIONS else ())
    return beside + [folded + suffix for suffix in after]


def _split(name: str) -> tuple[str, str]:
    """Stem with its folder, and the extension; a leading dot is no extension, .osm.pbf is one."""
    folder, slash, base = name.rpartition("/")
    if base.endswith(".osm.pbf") and len(base) > len(".osm.pbf"):
        return name[: -len(".osm.pbf")], ".osm.pbf"
    stem, dot, extension = base.rpartition(".")
    return (folder + slash + stem, dot + extension) if stem else (name, "")


def _is_main(name: str) -> bool:
    extension = _split(name.casefold())[1]
    return extension in _EXTENSIONS or extension in _LONELY_PARTS


def _reason_to_leave(name: str) -> str | None:
    folders, base = name.split("/")[:-1], name.rpartition("/")[2]
    if is_hidden(name):
        return "It is hidden."
    if base.casefold() in ("thumbs.db", "desktop.ini") or base.startswith("~$"):
        return "It is a file of the desktop, not data."
    geodatabase = next((part for part in folders if part.casefold().endswith(".gdb")), None)
    if geodatabase is not None:
        return f"It is part of the File Geodatabase {geodatabase!r}: zip that folder and submit the zip."
    return None


def _reason_for_orphan(name: str) -> str:
    extension = _split(name.casefold())[1]
    if extension in _OTHER_ARCHIVES:
        return "It is an archive of another kind than zip, which is not opened."
    if (
        any(
            extension in suffixes
            for suffixes in (*_BESIDE.values(), *_AFTER.values(), _AFTER_ANY_RASTER)
        )
        and extension not in _AMBIGUOUS
    ):
        return "It belongs to a file that is not here."
    return UNNAMED
