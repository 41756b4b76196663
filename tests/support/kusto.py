"""Table schemas for the queries of deploy/queries/*.kql, and Microsoft's own parser to check them.

The parser binds a query to the schemas without a cluster.
"""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from deploy.local.packages import kusto_parser, tool
from tests.support.command import ROOT

# Columns that every table of Application Insights has.
_EVERY = (
    "timestamp: datetime, itemType: string, customDimensions: dynamic, "
    "customMeasurements: dynamic, operation_Name: string, operation_Id: string, "
    "operation_ParentId: string, operation_SyntheticSource: string, session_Id: string, "
    "user_Id: string, user_AuthenticatedId: string, user_AccountId: string, "
    "application_Version: string, client_Type: string, client_Model: string, "
    "client_OS: string, client_IP: string, client_City: string, "
    "client_StateOrProvince: string, client_CountryOrRegion: string, "
    "client_Browser: string, cloud_RoleName: string, cloud_RoleInstance: string, "
    "appId: string, appName: string, iKey: string, "
    "sdkVersion: string, itemId: string, itemCount: int"
)

_CALL = (
    "id: string, name: string, success: string, resultCode: string, duration: real, "
    "performanceBucket: string"
)

# As Microsoft documents them. `success` is a string in Application Insights, and a bool in a
# workspace's own tables.
TABLES: Mapping[str, str] = {
    "requests": f"{_CALL}, source: string, url: string, {_EVERY}",
    "dependencies": f"{_CALL}, target: string, type: string, data: string, {_EVERY}",
    "traces": f"message: string, severityLevel: int, {_EVERY}",
    "exceptions": "problemId: string, handledAt: string, type: string, message: string, "
    "assembly: string, method: string, outerType: string, outerMessage: string, "
    "outerAssembly: string, outerMethod: string, innermostType: string, "
    "innermostMessage: string, innermostAssembly: string, innermostMethod: string, "
    f"severityLevel: int, details: dynamic, {_EVERY}",
    "ContainerAppConsoleLogs_CL": "TimeGenerated: datetime, time_t: datetime, "
    "ContainerAppName_s: string, ContainerGroupName_s: string, ContainerName_s: string, "
    "ContainerImage_s: string, ContainerId_s: string, EnvironmentName_s: string, "
    "RevisionName_s: string, ContainerJobName_s: string, Stream_s: string, Log_s: string, "
    "Type: string",
    "ContainerLogV2": "TimeGenerated: datetime, Computer: string, ContainerId: string, "
    "ContainerName: string, PodName: string, PodNamespace: string, LogMessage: dynamic, "
    "LogSource: string, LogLevel: string, KubernetesMetadata: dynamic, Type: string",
}


@dataclass(frozen=True)
class Bound:
    """The parser's result for a query: its errors, and its columns with their types."""

    diagnostics: list[str]
    columns: Mapping[str, str]


def bind(queries: Mapping[str, str], tables: Mapping[str, str] = TABLES) -> dict[str, Bound]:
    """Parse each query and bind its names and types to the tables.

    Raises ServiceError: if Node or npm is missing.
    """
    scripts = [str(path) for path in kusto_parser(lambda _: None)]
    script_input = json.dumps(
        {"scripts": scripts, "tables": dict(tables), "queries": dict(queries)}
    )
    command = [tool("node"), str(ROOT / "deploy" / "local" / "kusto" / "bind.js")]
    done = subprocess.run(command, input=script_input, capture_output=True, text=True, check=True)
    return {
        name: Bound(bound["diagnostics"], bound["columns"])
        for name, bound in json.loads(done.stdout).items()
    }
