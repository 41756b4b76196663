"""Run `make bench`: measure both chains against the usual tools, print RESULTS.md and write it."""

import os
import platform
import statistics
import sys
import textwrap
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
from benchmarks.serving.first_answer import first_answer
from benchmarks.serving.raster_tiles import serving_raster
from benchmarks.serving.search import serving_search
from benchmarks.serving.server import serving_start
from benchmarks.serving.vector_tiles import serving_vector
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
            "rasterio.shutil.copy(sys.argv[1], sys.argv[2], driver='COG', "
            "**dict(o.split('=') for o in sys.argv[3:]))"
        )
        return run([sys.executable, "-c", program, source, out, *creation])

    process, translate, library = in_turn(ROUNDS, ours, theirs, same_library)
    counted = jobs[1:]
    work = [job.work_s for job in counted]
    stages = {
        name: statistics.median(job.stages[name] for job in counted) for name in counted[0].stages
    }
    translate_s, library_s = ([one.wall_s for one in runs] for runs in (translate, library))
    return [
        "## Raster: 12,000 x 12,000 RGB, from profile to published item",
        "",
        "| what | wall seconds, median (min to max) | peak MB |",
        "|---|---|---|",
        "| all stages of the job: profile, COG, verification, pictures, footprint, item, checks "
        f"| {spread(work)} | {_peak(process)} |",
        f"| `gdal_translate -of COG` alone, same codec, level, threads ({_version()}) "
        f"| {spread(translate_s)} | {_peak(translate)} |",
        f"| the COG driver alone, in rasterio's GDAL | {spread(library_s)} | {_peak(library)} |",
        "",
        f"**Ratio ours / gdal_translate: {median_ratio(work, translate_s):.2f}** "
        "(target: at most 1.00). Ours / the same library's driver alone: "
        f"{median_ratio(work, library_s):.2f}. Target for peak memory: under 1,500 MB.",
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
            "import sys, geopandas as gpd; "
            "frame = gpd.read_file(sys.argv[1], use_arrow=True); "
            "frame['geometry'] = frame.geometry.make_valid(); "
            "frame = frame.iloc[frame.hilbert_distance().argsort()]; "
            "frame.to_parquet(sys.argv[2], compression='zstd', write_covering_bbox=True)"
        )
        return run([sys.executable, "-c", program, source, out])

    process, geopandas = in_turn(ROUNDS, ours, theirs)
    work = [job.work_s for job in jobs[1:]]
    stages = {
        name: statistics.median(job.stages[name] for job in jobs[1:]) for name in jobs[0].stages
    }
    geopandas_s = [one.wall_s for one in geopandas]
    memory_ratio = median_ratio(
        [one.peak_rss_mb for one in process], [one.peak_rss_mb for one in geopandas]
    )
    return [
        "## Vector: 500,000 polygons, from GeoPackage to sorted GeoParquet",
        "",
        "| what | wall seconds, median (min to max) | peak MB |",
        "|---|---|---|",
        "| all stages of the job: profile, repair, sort, write, read back, item, checks "
        f"| {spread(work)} | {_peak(process)} |",
        "| geopandas: read, make valid, sort, write (all in memory, nothing checked) "
        f"| {spread(geopandas_s)} | {_peak(geopandas)} |",
        "",
        f"**Our peak memory: {_peak(process)} MB** (target: under 700). Ratio ours / geopandas, "
        f"seconds: {median_ratio(work, geopandas_s):.2f}; memory: {memory_ratio:.2f}.",
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
        "## Overhead of a run: from launch to end, without the stages",
        "",
        "A 640 kB elevation model, by `geo-platform ingest` in a new process: "
        f"{spread([job.process.wall_s for job in jobs])} s in total, "
        f"of which {spread([job.work_s for job in jobs])} s in stages; "
        f"**overhead {spread([job.overhead_s for job in jobs])} s**: start Python, import "
        "Dagster and the geodata libraries, load and verify the definitions, write the run's "
        "events.",
        "",
    ]


def _peak(runs: list[Measured]) -> str:
    return f"{max(one.peak_rss_mb for one in runs):,.0f}"


def _version() -> str:
    return run([tool("gdal_translate"), "--version"]).stdout.split(",")[0]


def _wrapped(line: str) -> str:
    """Wrap prose at 100 columns; Markdown needs a heading or a table row on one line."""
    if line.startswith(("#", "|")):
        return line
    return textwrap.fill(
        line,
        100,
        break_long_words=False,
        break_on_hyphens=False,
        subsequent_indent="  " * line.startswith("- "),
    )


def main() -> None:
    parts = {
        "raster": raster,
        "vector": vector,
        "postgis": partial(postgis, ROUNDS),
        "overhead": overhead,
        "arrivals": arrivals,
        "files": files,
        "arriving_files": arriving_files,
        "first_answer": first_answer,
        "first_stage": first_stage,
        "listing": listing,
        "partitions": partitions,
        "serving_raster": partial(serving_raster, ROUNDS),
        "serving_search": serving_search,
        "serving_start": partial(serving_start, ROUNDS),
        "serving_vector": serving_vector,
        "submissions": submissions,
        "telemetry": telemetry,
    }
    chosen = sys.argv[1:] or list(parts)
    lines = [
        "# Results",
        "",
        f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, "
        f"{platform.machine()}, Python {platform.python_version()}; {ROUNDS} counted rounds, "
        "alternating, after one warm-up round. Compare the ratios: the seconds of a shared "
        "machine drift.",
        "",
    ]
    environment = dict(os.environ)
    for name in chosen:
        lines += parts[name]()
        # A part sets variables for the commands that it runs.
        os.environ.clear()
        os.environ.update(environment)
    text = "\n".join(_wrapped(line) for line in lines)
    print(text)
    if len(chosen) == len(parts):
        (ROOT / "benchmarks" / "RESULTS.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
