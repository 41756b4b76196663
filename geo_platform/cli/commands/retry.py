"""`geo-platform retry RUN`: process again the files of a run that have no result.

`geo_platform/orchestrator/shared_runs.py` decides which files these are.

Called by `cli/main.py`.
"""

import json
import sys

import click

from geo_platform.cli.application import Application
from geo_platform.cli.outcome import CommandOutcome, exit_code, outcome_of, printable
from geo_platform.errors import SourceNotFound
from geo_platform.runs import RetryRequest, RunReport


@click.command("retry")
@click.argument("run", metavar="RUN")
@click.option(
    "--dry-run", is_flag=True, help="List the files that would be processed again. Run nothing."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@click.pass_obj
def retry(application: Application, run: str, dry_run: bool, as_json: bool) -> None:
    """Process again what RUN refused, failed at or did not reach, with the same parameters.

    What RUN published is not changed. RUN is the id of a run of one or several objects that has
    ended. Repair or upload the files first: the retry reads their present content. The retry is a
    new run, executed in this process, and can itself be retried.

    \b
    geo-platform retry ea2add4b-aee9-45ca-b4b4-26abf84316a1 --dry-run    list the files
    geo-platform retry ea2add4b-aee9-45ca-b4b4-26abf84316a1              process them
    geo-platform trace ea2add4b-aee9-45ca-b4b4-26abf84316a1              see why they failed

    Exit codes: 0 all done or nothing to do, 1 some refused again, 2 RUN has not ended, 3 a fault of
    the platform.
    """
    with application.launcher() as launcher:
        to_retry = launcher.retry_of(run)
        if to_retry is None:
            raise SourceNotFound(
                f"This home has no run {run!r}.",
                remedy="The whole id is needed; geo-platform trace finds runs by other ids.",
            )
        if to_retry.is_under_way:
            raise click.UsageError(
                f"The run {run} has not ended. See its state with: geo-platform status {run}"
            )
        report = None if dry_run or to_retry.request is None else launcher.run(to_retry.request)
    _print_result(run, to_retry, report, as_json=as_json)


def _print_result(
    run: str, to_retry: RetryRequest, report: RunReport | None, *, as_json: bool
) -> None:
    error = report.error if report is not None else None
    if as_json:
        result = (
            {"run_id": report.run_id, "result": report.result, "error": error}
            if report is not None
            else {"run_id": None}
        )
        click.echo(
            json.dumps({"retry_of": run, "files": list(to_retry.files), **result}, default=str)
        )
    elif to_retry.request is None:
        click.echo(f"Nothing to do: everything that the run {run} was asked for has a result.")
    else:
        click.echo("\n".join(f"  {printable(key)}" for key in to_retry.files))
        click.echo(
            f"{len(to_retry.files)} files without a result."
            if report is None
            else f"  run {report.run_id}"
        )
        if error is not None:
            click.echo(
                printable(f"{error['code']}: {error['message']} {error['remedy']}"), err=True
            )
    sys.exit(exit_code([outcome_of(error) if error is not None else CommandOutcome.published]))
