"""Parse deploy/queries/*.kql with Microsoft's parser, bound to the tables of Application Insights
and Log Analytics.

No test has a cluster: the parser checks syntax, column names and types, but not the results.
test_queries.py runs the SQL queries.
"""

import pytest

from tests.support.command import ROOT
from tests.support.kusto import TABLES, Bound, bind

QUERIES = {
    path.name: path.read_text("utf-8")
    for path in sorted((ROOT / "deploy" / "queries").glob("*.kql"))
}
# The queries of container logs say that this is what to change on AKS.
ON_AKS = {"ContainerAppConsoleLogs_CL": "ContainerLogV2", "Log_s": "LogMessage"}

ANSWERS = {
    "checkpoints.kql": "at stage attempt checkpoint said duration_ms error_code details",
    "failures_by_code.kql": "error_code name attempts runs last_at last_run",
    "slowest_stages.kql": "name attempts median_ms p95_ms duration run_id",
    "store_calls.kql": "name calls failed total_ms p95_ms",
    "timeline.kql": (
        "timestamp name duration success error_code partition attempt operation_ParentId id"
    ),
    "trouble.kql": "at run_id checkpoint said details",
}


WRONG = {
    "syntax": "requests | where",
    "column": "requests | where nobody == 1",
    "table": "nowhere | count",
    "type": "requests | summarize sum(name)",
    "function": "requests | extend a = no_such_function(name)",
}


def _on_aks(text: str) -> str:
    for here, there in ON_AKS.items():
        text = text.replace(here, there)
    return text


@pytest.fixture(scope="module")
def bound() -> dict[str, Bound]:
    return bind({**QUERIES, **WRONG})


def test_every_query_parses_and_binds(bound: dict[str, Bound]) -> None:
    assert {name: bound[name].diagnostics for name in QUERIES} == {name: [] for name in ANSWERS}
    assert {name: " ".join(bound[name].columns) for name in QUERIES} == ANSWERS


def test_the_parser_finds_errors(bound: dict[str, Bound]) -> None:
    assert all(bound[name].diagnostics for name in WRONG)


def test_queries_bind_in_a_workspace_and_on_aks() -> None:
    """`success` is a string in Application Insights and a bool in a workspace's own tables."""
    tables = {
        name: columns.replace("success: string", "success: bool")
        for name, columns in TABLES.items()
    }
    queries = {name: _on_aks(text) for name, text in QUERIES.items()}
    del tables["ContainerAppConsoleLogs_CL"]
    assert {name: found.diagnostics for name, found in bind(queries, tables).items()} == {
        name: [] for name in QUERIES
    }
