"""`make bench`: both chains beside what people use today. Prints and writes benchmarks/RESULTS.md."""

import os
import platform
import statistics
import sys
from datetime import UTC, datetime
from functools import partial

from benchmarks.arrivals import arrivals
from benchmarks.arriving_files import arriving_files
from benchmarks.data import ROOT, WORK, polygons, rgb_raster
from benchmarks.files import files
from benchmarks.first_stage import first_stage
from benchmarks.jobs import JobMeasured, ingest
from benchmarks.listing import listing
from benchmarks.measure import Measured, in_turn, median_ratio, run, spread, tool
from benchmarks.partitions import partitions
from benchmarks.postgis import postgis
from benchmarks.submissions import submissions
from benchmarks.telemetry import telemetry

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))


def raster() -> list[str]:
    source = rgb_raster()
    out = WORK / "theirs.tif"
    jobs: list[JobMeasured] = []

    def ours() -> Measured:
        jobs.append(ingest(source))
        return jobs[-1].process

    creation = [
        "COMPRESS=ZSTD",
        "LEVEL=9",
        "PREDICTOR=YES",
        "OVERVIEW_RESAMPLING=CUBIC",
        "BLOCKSIZE=512",
        "NUM_THREADS=ALL_CPUS",
    ]
    options = [part for option in creation for part in ("-co", option)]

    def theirs() -> Measured:
        out.unlink(missing_ok=True)
        return run([tool("gdal_translate"), "-q", "-of", "COG", *options, source, out])

    def same_library() -> Measured:
        out.unlink(missing_ok=True)
        program = (
            "import sys, rasterio, rasterio.shutil; "
            "rasterio.shutil.copy(sys.argv[1], sys.argv[2], driver='COG', **dict(o.split('=') for o in sys.argv[3:]))"
        )
        return run([sys.executable, "-c", program, source, out, *creation])

    process, translate, library = in_turn(ROUNDS, ours, theirs, same_library)
    counted = jobs[1:]
    work = [job.work_s for job in counted]
    stages = {
        name: statistics.median(job.stages[name] for job in counted) for name in counted[0].stages
    }
    return [
        "## Raster: 12,000 x 12,000 RGB, profile to published item",
        "",
        "| what | wall seconds, median (min to max) | peak MB |",
        "|---|---|---|",
        f"| the whole job's stages: profile, COG, verification, pictures, footprint, item, checks | {spread(work)} | {_peak(process)} |",
        f"| `gdal_translate -of COG` alone, same codec, level, threads ({_version()}) | {spread([m.wall_s for m in translate])} | {_peak(translate)} |",
        f"| the COG driver alone in the GDAL that we ship | {spread([m.wall_s for m in library])} | {_peak(library)} |",
        "",
        f"**Ratio ours / gdal_translate: {median_ratio(work, [m.wall_s for m in translate]):.2f}** (to hold: at most 1.00). "
        f"Ours / same library's driver alone: {median_ratio(work, [m.wall_s for m in library]):.2f}. Peak memory to hold: under 1,500 MB.",
        "",
        "Median seconds per stage: "
        + ", ".join(f"{name} {seconds:.2f}" for name, seconds in stages.items())
        + ".",
        "",
    ]


def vector() -> list[str]:
    source = polygons()
    out = WORK / "theirs.parquet"
    jobs: list[JobMeasured] = []

    def ours() -> Measured:
        jobs.append(ingest(source))
        return jobs[-1].process

    def theirs() -> Measured:
        out.unlink(missing_ok=True)
        program = (
            "import sys, geopandas as gpd; frame = gpd.read_file(sys.argv[1], use_arrow=True); "
            "frame['geometry'] = frame.geometry.make_valid(); frame = frame.iloc[frame.hilbert_distance().argsort()]; "
            "frame.to_parquet(sys.argv[2], compression='zstd', write_covering_bbox=True)"
        )
        return run([sys.executable, "-c", program, source, out])

    process, geopandas = in_turn(ROUNDS, ours, theirs)
    work = [job.work_s for job in jobs[1:]]
    stages = {
        name: statistics.median(job.stages[name] for job in jobs[1:]) for name in jobs[0].stages
    }
    return [
        "## Vector: 500,000 polygons, GeoPackage to sorted GeoParquet",
        "",
        "| what | wall seconds, median (min to max) | peak MB |",
        "|---|---|---|",
        f"| the whole job's stages: profile, repair, sort, write, read back, item, checks | {spread(work)} | {_peak(process)} |",
        f"| geopandas: read, make valid, sort, write (all in memory, nothing checked) | {spread([m.wall_s for m in geopandas])} | {_peak(geopandas)} |",
        "",
        f"**Peak memory ours: {_peak(process)} MB** (to hold: under 700). Ratio of seconds ours / geopandas: "
        f"{median_ratio(work, [m.wall_s for m in geopandas]):.2f}; of memory: {median_ratio([m.peak_rss_mb for m in process], [m.peak_rss_mb for m in geopandas]):.2f}.",
        "",
        "Median seconds per stage: "
        + ", ".join(f"{name} {seconds:.2f}" for name, seconds in stages.items())
        + ".",
        "",
    ]


def overhead() -> list[str]:
    sample = ROOT / "samples" / "sierra_nevada_srtm.tif"
    jobs = [ingest(sample) for _ in range(ROUNDS + 1)][1:]
    return [
        "## Overhead of a run: launch to done, less the work",
        "",
        f"A 640 kB elevation model by `geo-platform ingest` in a new process: {spread([job.process.wall_s for job in jobs])} s in all, "
        f"of which the stages {spread([job.work_s for job in jobs])} s; **overhead {spread([job.overhead_s for job in jobs])} s**: starting Python, "
        "importing Dagster and the geodata libraries, loading and verifying the definitions, writing the run's events.",
        "",
    ]


def _peak(runs: list[Measured]) -> str:
    return f"{max(one.peak_rss_mb for one in runs):,.0f}"


def _version() -> str:
    return run([tool("gdal_translate"), "--version"]).stdout.split(",")[0]


def main() -> None:
    parts = {
        "raster": raster,
        "vector": vector,
        "postgis": partial(postgis, ROUNDS),
        "overhead": overhead,
        "arrivals": arrivals,
        "files": files,
        "arriving_files": arriving_files,
        "first_stage": first_stage,
        "listing": listing,
        "partitions": partitions,
        "submissions": submissions,
        "telemetry": telemetry,
    }
    chosen = sys.argv[1:] or list(parts)
    lines = [
        "# Results",
        "",
        f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}; "
        f"{ROUNDS} counted rounds in turn after one that is not counted. Read the ratios: a shared machine's seconds drift.",
        "",
    ]
    for name in chosen:
        lines += parts[name]()
    text = "\n".join(lines)
    print(text)
    if len(chosen) == len(parts):
        (ROOT / "benchmarks" / "RESULTS.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
