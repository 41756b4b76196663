"""Ingest the sample data of published packages and compare each outcome with a committed table.

`python -m tests.support.corpus` downloads the packages of tests/corpus.toml once, ingests their
folders with the real command, and fails if an outcome differs from tests/corpus_outcomes.tsv.
`--accept` writes the table anew; its diff then shows what a change means for real files.
"""

import csv
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import geopandas as gpd
import pyarrow.parquet as pq
import rasterio

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "tests" / "corpus.toml"
OUTCOMES = ROOT / "tests" / "corpus_outcomes.tsv"
DOWNLOADS = ROOT / ".corpus"

# geo-platform prints this before each file of a folder that it does not submit.
_LEFT_OUT = "left out "


@dataclass(frozen=True, order=True)
class Outcome:
    """What became of a file. `code`: an error code. `result`: what other software reads back."""

    package: str
    file: str
    outcome: str
    code: str
    result: str


@dataclass(frozen=True)
class Package:
    registry: str
    name: str
    version: str
    sha256: str
    folders: list[str]

    def unpacked(self) -> Path:
        """Return the folder of the unpacked package; download it if this was not done before.

        Raises SystemExit: the downloaded file differs from the file that tests/corpus.toml names.
        """
        folder = DOWNLOADS / f"{self.name.replace('/', '-')}-{self.version}"
        if folder.exists():
            return folder
        DOWNLOADS.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=DOWNLOADS) as scratch:
            archive = self._download(Path(scratch))
            if hashlib.sha256(archive.read_bytes()).hexdigest() != self.sha256:
                raise SystemExit(f"{archive.name} has not the sha256 of tests/corpus.toml")
            content = Path(scratch) / "content"
            is_wheel = archive.suffix == ".whl"
            shutil.unpack_archive(archive, content, "zip" if is_wheel else "gztar")
            content.rename(folder)
        return folder

    def _download(self, folder: Path) -> Path:
        exact = ["--only-binary=:all:", "--python-version=3.11", "--platform=manylinux_2_28_x86_64"]
        command = {
            "pypi": [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *exact],
            "npm": ["npm", "pack", "--silent"],
        }[self.registry]
        separator = {"pypi": "==", "npm": "@"}[self.registry]
        subprocess.run([*command, f"{self.name}{separator}{self.version}"], cwd=folder, check=True)
        (archive,) = folder.iterdir()
        return archive


def main() -> None:
    packages = [Package(**entry) for entry in tomllib.loads(PACKAGES.read_text())["package"]]
    found = sorted(outcome for package in packages for outcome in _ingest(package))
    recorded = _read() if OUTCOMES.exists() else []
    for outcome in sorted(set(recorded) ^ set(found)):
        sys.stdout.write("\t".join(["+" if outcome in found else "-", *astuple(outcome)]) + "\n")
    sys.stdout.write(f"{len(found)} files, {len(set(found) - set(recorded))} differ\n")
    if "--accept" in sys.argv[1:]:
        _write(found)
    elif found != recorded:
        raise SystemExit(
            "The outcomes differ from tests/corpus_outcomes.tsv. If the change is right, run "
            "`make corpus ACCEPT=1` and explain the diff in the commit."
        )


def _ingest(package: Package) -> Iterator[Outcome]:
    root = package.unpacked()
    folders = [root / folder for folder in package.folders]
    sys.stdout.write(f"{package.name} {package.version}\n")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory() as home:
        geo_platform = Path(sys.executable).parent / "geo-platform"
        ended = subprocess.run(
            [geo_platform, "--home", home, "ingest", "--json", *folders],
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode not in (0, 1):
            raise SystemExit(ended.stderr)
        for line in map(json.loads, ended.stdout.splitlines()):
            yield Outcome(
                package.name,
                str(Path(line["source"]).relative_to(root)),
                line["outcome"],
                line["error"]["code"] if line["error"] else "",
                "; ".join(_describe(href) for href in line["outputs"] if _is_data(href)),
            )
    for line in ended.stderr.splitlines():
        if line.startswith(_LEFT_OUT):
            path = line.removeprefix(_LEFT_OUT).strip().partition(": ")[0]
            yield Outcome(package.name, str(Path(path).relative_to(root)), "left out", "", "")


def _is_data(href: str) -> bool:
    return href.endswith((".tif", ".parquet"))


def _describe(href: str) -> str:
    """Return size, types, CRS and place of a published file, read without the platform's code."""
    path = Path(unquote(urlsplit(href).path))
    if path.suffix == ".tif":
        with rasterio.open(path) as cog:
            size = f"{cog.width} x {cog.height} x {cog.count} {cog.dtypes[0]}"
            valid = float((cog.dataset_mask(out_shape=(64, 64)) > 0).mean())
            return f"{size}, {_crs(cog.crs)}, {_place(cog.bounds)}, {valid:.0%} valid"
    if path.stem.endswith("_rejected"):
        return f"{pq.ParquetFile(path).metadata.num_rows:,} rows rejected"
    frame = gpd.read_parquet(path)
    types = " ".join(sorted(frame.geom_type.dropna().unique()))
    size = f"{len(frame):,} rows, {len(frame.columns) - 1} columns, {types}"
    return f"{size}, {_crs(frame.crs)}, {_place(frame.total_bounds)}"


def _crs(crs: Any) -> str:
    code = crs.to_epsg() if crs else None
    return f"EPSG:{code}" if code else "other CRS" if crs else "no CRS"


def _place(bounds: Any) -> str:
    return " ".join(f"{edge:.6g}" for edge in bounds)


def _read() -> list[Outcome]:
    with OUTCOMES.open(newline="") as table:
        return [Outcome(*row) for row in list(csv.reader(table, delimiter="\t"))[1:]]


def _write(outcomes: list[Outcome]) -> None:
    with OUTCOMES.open("w", newline="") as table:
        writer = csv.writer(table, delimiter="\t", lineterminator="\n")
        writer.writerow(field.name for field in fields(Outcome))
        writer.writerows(map(astuple, outcomes))


if __name__ == "__main__":
    main()
