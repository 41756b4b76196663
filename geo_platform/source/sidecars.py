"""Match sidecars to sources by name: world files, projections, the parts of a Shapefile.

A sidecar is a file that belongs to a source and has the same stem. No file is read here;
`sidecar_content.py` checks the content of sidecars.

Used throughout the application.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from geo_platform.contracts.arrival import SourceFormat
from geo_platform.source.formats import FORMATS

# Extensions of world files by the extension of the image, in GDAL's order of preference.
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
# Suffixes of sidecars that replace the extension of the main file.
_REPLACING_SUFFIXES: Mapping[str, tuple[str, ...]] = MappingProxyType(
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

# Suffixes of sidecars that are appended to the whole name of the main file.
_APPENDED_SUFFIXES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {".shp": (".xml",), ".gpkg": ("-wal", "-shm", "-journal"), ".gml": (".gz",)}
)
_APPENDED_TO_ANY_RASTER = (".aux.xml", ".msk", ".ovr", ".xml")

_ARCHIVES = (".zip", ".kmz")
_OTHER_ARCHIVES = (".gz", ".tgz", ".tar", ".bz2", ".xz", ".7z", ".rar", ".zst")
# A part without its .shp counts as a source, so that the refusal names the missing parts.
_SHAPEFILE_PARTS_AS_SOURCES = (".dbf", ".shx")
# Mostly read-me files and metadata, so the extension alone makes neither a source nor a sidecar.
_AMBIGUOUS_EXTENSIONS = (".txt", ".xml")
_RASTER_EXTENSIONS = frozenset(
    ext for rule in FORMATS.values() if rule.rasterio_drivers for ext in rule.extensions
) - {".txt"}
_EXTENSIONS = frozenset(
    ext for rule in FORMATS.values() for ext in (*rule.extensions, *_ARCHIVES)
) - set(_AMBIGUOUS_EXTENSIONS)
# Where two formats share an extension, neither has sidecars, so it does not matter which is kept.
_FORMAT_OF_EXTENSION = MappingProxyType(
    {
        ext: source_format
        for source_format, rule in FORMATS.items()
        for ext in rule.extensions
        if ext in _EXTENSIONS - set(_ARCHIVES)
    }
)

# Every dot-separated part that may follow the stem in the name of a source with sidecars or of a
# sidecar: for example tif, aux, xml, gpkg-wal.
_PARTS_OF_SUFFIXES = frozenset(
    part
    for main in _EXTENSIONS
    for suffix in (
        *_REPLACING_SUFFIXES.get(main, ()),
        *_APPENDED_SUFFIXES.get(
            main, _APPENDED_TO_ANY_RASTER if main in _RASTER_EXTENSIONS else ()
        ),
    )
    for whole in (main, suffix if suffix.startswith(".") else main + suffix)
    for part in whole[1:].split(".")
    if part
)

# The sidecars that a driver may read, as listed in docs/formats.md: world files, suffixes that
# replace the extension, suffixes that are appended. Omitted on purpose: overviews, because they are
# computed again; spatial and attribute indexes; application schemas; .rrd and .aux.
_WITH_WORLD_FILE = frozenset(
    {
        SourceFormat.geotiff,
        SourceFormat.jpeg2000,
        SourceFormat.png,
        SourceFormat.jpeg,
    }
)
_DRIVER_REPLACING_SUFFIXES: Mapping[SourceFormat, tuple[str, ...]] = MappingProxyType(
    {
        SourceFormat.geotiff: (".prj",),
        SourceFormat.jpeg2000: (".prj",),
        SourceFormat.png: (".prj",),
        SourceFormat.jpeg: (".prj",),
        SourceFormat.erdas_imagine: (".ige", ".prj"),
        SourceFormat.esri_ascii_grid: (".prj",),
        SourceFormat.shapefile: (".shx", ".dbf", ".prj", ".cpg"),
        SourceFormat.csv: (".csvt", ".prj"),
    }
)
_DRIVER_APPENDED_SUFFIXES: Mapping[SourceFormat, tuple[str, ...]] = MappingProxyType(
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

UNKNOWN_EXTENSION = (
    "Its extension is not one of a supported format. Submit the file by its own path instead "
    "of its folder; its format is then detected by content."
)


@dataclass(frozen=True)
class SourceGroup:
    """A source and its sidecars."""

    main: str
    sidecars: tuple[str, ...]


@dataclass(frozen=True)
class Grouping:
    """Names divided into sources with their sidecars, and omitted names with the reason.

    Every name occurs exactly once.
    """

    sources: tuple[SourceGroup, ...]
    left_out: tuple[tuple[str, str], ...]


def all_sidecars(name: str, siblings: Collection[str]) -> tuple[str, ...]:
    """Return all sidecars of `name` among `siblings`, sorted, even those that no driver reads.

    Letter case does not matter.
    """
    sidecar_names = _sidecar_names(name.casefold())
    return tuple(
        sorted(
            sibling
            for sibling in siblings
            if sibling != name and sibling.casefold() in sidecar_names
        )
    )


def driver_sidecars(
    source_format: SourceFormat, name: str, sidecars: Collection[str]
) -> dict[str, str]:
    """Return the sidecars that a driver of the format may read, by suffix (docs/formats.md).

    The suffix is the one under which the sidecar is given to the driver, for example
    {".wld": "scene.tfw", ".tif.aux.xml": "scene.tif.aux.xml"}.
    """
    # Of two names that differ in letter case, the one with the stem of the source counts.
    exact_stem = _split(name)[0]
    by_name = {
        sidecar.casefold(): sidecar
        for sidecar in sorted(sidecars, key=lambda each: (each.startswith(exact_stem), each))
    }
    canonical = FORMATS[source_format].canonical_extension
    stem, extension = _split(name.casefold())
    by_suffix = {
        ".wld": next(
            (
                by_name[stem + world]
                for world in _WORLD_FILES.get(extension, ())
                if stem + world in by_name
            ),
            None,
        )
    }
    by_suffix |= {
        suffix: by_name.get(stem + suffix)
        for suffix in _DRIVER_REPLACING_SUFFIXES.get(source_format, ())
    }
    by_suffix |= {
        canonical + suffix: by_name.get(stem + extension + suffix)
        for suffix in _DRIVER_APPENDED_SUFFIXES.get(source_format, ())
    }
    if source_format not in _WITH_WORLD_FILE:
        del by_suffix[".wld"]
    return {suffix: sidecar for suffix, sidecar in by_suffix.items() if sidecar is not None}


def group_sources(names: Iterable[str]) -> Grouping:
    """Group relative names (with forward slashes) into sources and sidecars, sorted by name.

    Names only decide which files are examined; the content decides the format. A .dbf or .shx
    without a .shp counts as a source, so that the refusal names the missing parts. A sidecar that
    two sources share belongs to the first source.
    """
    ordered = sorted(set(names))
    left_out = {
        name: reason for name in ordered if (reason := _reason_to_leave_out(name)) is not None
    }
    remaining = [name for name in ordered if name not in left_out]
    by_lower_name: dict[str, list[str]] = {}
    for name in remaining:
        by_lower_name.setdefault(name.casefold(), []).append(name)
    main_of_sidecar: dict[str, str] = {}
    for main in (name for name in remaining if _split(name.casefold())[1] in _EXTENSIONS):
        for sidecar in (
            name
            for sidecar_name in _sidecar_names(main.casefold())
            for name in by_lower_name.get(sidecar_name, ())
        ):
            if sidecar != main:
                main_of_sidecar.setdefault(sidecar, main)
    mains = [name for name in remaining if name not in main_of_sidecar and _is_main(name)]
    orphans = [name for name in remaining if name not in main_of_sidecar and not _is_main(name)]
    left_out |= {name: _reason_for_orphan(name) for name in orphans}
    left_out |= {
        name: f"It belongs to {main!r}, which is itself a sidecar."
        for name, main in main_of_sidecar.items()
        if main not in mains
    }
    groups = tuple(
        SourceGroup(
            main, tuple(sorted(name for name, owner in main_of_sidecar.items() if owner == main))
        )
        for main in mains
    )
    return Grouping(groups, tuple(sorted(left_out.items())))


def is_single_file(name: str) -> bool:
    """Return whether the name is that of a source that has no sidecars, for example a GeoJSON."""
    lower_name = name.casefold()
    return _split(lower_name)[1] in _EXTENSIONS and not _sidecar_names(lower_name)


def group_prefix(name: str) -> str:
    """Return the prefix shared by a source and all its sidecars: folder, stem and dot.

    The result is the same for the source and every sidecar. It keeps the letter case, because a
    store lists names by exact prefix. For a source without sidecars, return the name itself.
    """
    folder, slash, base = name.rpartition("/")
    parts = base.split(".")
    while len(parts) > 1 and parts[-1].casefold() in _PARTS_OF_SUFFIXES:
        parts.pop()
    stem = ".".join(parts)
    return name if stem == base else f"{folder}{slash}{stem}."


def group_prefixes(name: str) -> tuple[str, ...]:
    """Return the prefixes under which a store may hold the source and its sidecars.

    The first one is `group_prefix(name)`. Others have its stem in lower case, in upper case and
    capitalised, because a store lists names by exact prefix and letter case does not matter. A
    source without sidecars has one prefix.
    """
    prefix = group_prefix(name)
    if not prefix.endswith("."):
        return (prefix,)
    folder, slash, stem = prefix.rpartition("/")
    spellings = (stem, stem.lower(), stem.upper(), stem.capitalize())
    return tuple(dict.fromkeys(f"{folder}{slash}{spelling}" for spelling in spellings))


def format_by_name(name: str) -> SourceFormat | None:
    """Guess the format from the extension, where the content is not available.

    Return None for an archive, a sidecar, or an ambiguous extension (.txt, .xml).
    """
    return _FORMAT_OF_EXTENSION.get(_split(name.casefold())[1])


def guess_driver_sidecars(name: str, siblings: Collection[str]) -> tuple[str, ...]:
    """Return the sidecars among `siblings` that a driver may read, sorted, before content is known.

    The format is guessed from the extension of `name`; `driver_sidecars` takes the detected format
    instead.
    """
    source_format = format_by_name(name)
    if source_format is None:
        return ()
    sidecars = all_sidecars(name, siblings)
    return tuple(sorted(driver_sidecars(source_format, name, sidecars).values()))


def is_hidden(name: str) -> bool:
    """Return whether the name is a dot file, or a resource fork that macOS adds to archives."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _sidecar_names(lower_name: str) -> list[str]:
    stem, extension = _split(lower_name)
    replacing = [stem + suffix for suffix in _REPLACING_SUFFIXES.get(extension, ())]
    appended = _APPENDED_SUFFIXES.get(
        extension, _APPENDED_TO_ANY_RASTER if extension in _RASTER_EXTENSIONS else ()
    )
    return replacing + [lower_name + suffix for suffix in appended]


def _split(name: str) -> tuple[str, str]:
    """Return (folder and stem, extension). A leading dot begins no extension; .osm.pbf is one."""
    folder, slash, base = name.rpartition("/")
    if base.endswith(".osm.pbf") and len(base) > len(".osm.pbf"):
        return name[: -len(".osm.pbf")], ".osm.pbf"
    stem, dot, extension = base.rpartition(".")
    return (folder + slash + stem, dot + extension) if stem else (name, "")


def _is_main(name: str) -> bool:
    extension = _split(name.casefold())[1]
    return extension in _EXTENSIONS or extension in _SHAPEFILE_PARTS_AS_SOURCES


def _reason_to_leave_out(name: str) -> str | None:
    folders, base = name.split("/")[:-1], name.rpartition("/")[2]
    if is_hidden(name):
        return "It is hidden."
    if base.casefold() in ("thumbs.db", "desktop.ini") or base.startswith("~$"):
        return "It is a file of the desktop environment, not data."
    geodatabase = next((part for part in folders if part.casefold().endswith(".gdb")), None)
    if geodatabase is not None:
        return (
            f"It is part of the File Geodatabase {geodatabase!r}. "
            "Zip that folder and submit the zip."
        )
    return None


def _reason_for_orphan(name: str) -> str:
    extension = _split(name.casefold())[1]
    if extension in _OTHER_ARCHIVES:
        return "It is an archive of a kind that is not supported. Submit a zip archive."
    if (
        any(
            extension in suffixes
            for suffixes in (
                *_REPLACING_SUFFIXES.values(),
                *_APPENDED_SUFFIXES.values(),
                _APPENDED_TO_ANY_RASTER,
            )
        )
        and extension not in _AMBIGUOUS_EXTENSIONS
    ):
        return "It is a sidecar of a file that is not here."
    return UNKNOWN_EXTENSION
