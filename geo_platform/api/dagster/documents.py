"""All GraphQL documents that are sent to Dagster's webserver.

`graphql.py` sends the documents and reads the responses. A test checks every document against
Dagster's schema.

Called by `graphql.py`.
"""

# Without Markdown, which may contain large pictures.
_METADATA = """
  __typename
  label
  ... on TextMetadataEntry { text }
  ... on UrlMetadataEntry { url }
  ... on PathMetadataEntry { path }
  ... on JsonMetadataEntry { jsonString }
  ... on IntMetadataEntry { intRepr }
  ... on FloatMetadataEntry { floatRepr }
  ... on BoolMetadataEntry { boolValue }
  ... on TimestampMetadataEntry { timestamp }
  ... on PipelineRunMetadataEntry { runId }
  ... on TableMetadataEntry { table { records } }
"""

_FACTS = "runId jobName status creationTime startTime endTime updateTime tags { key value }"
_FAULT = "... on PythonError { message className }"

LAUNCH = f"""
mutation Launch($params: ExecutionParams!) {{
  launchRun(executionParams: $params) {{
    __typename
    ... on LaunchRunSuccess {{ run {{ runId }} }}
    ... on RunConfigValidationInvalid {{ errors {{ message }} }}
    ... on PipelineNotFoundError {{ message }}
    ... on RunConflict {{ message }}
    ... on UnauthorizedError {{ message }}
    {_FAULT}
  }}
}}
"""

ADD_PARTITION = f"""
mutation AddPartition($name: String!, $key: String!, $repository: RepositorySelector!) {{
  addDynamicPartition(
    partitionsDefName: $name, partitionKey: $key, repositorySelector: $repository
  ) {{
    __typename
    ... on UnauthorizedError {{ message }}
    {_FAULT}
  }}
}}
"""

TERMINATE = f"""
mutation Terminate($runId: String!, $policy: TerminateRunPolicy) {{
  terminateRun(runId: $runId, terminatePolicy: $policy) {{
    __typename
    ... on TerminateRunFailure {{ message }}
    ... on RunNotFoundError {{ message }}
    ... on UnauthorizedError {{ message }}
    {_FAULT}
  }}
}}
"""

RUNS = f"""
query Runs($filter: RunsFilter, $cursor: String, $limit: Int) {{
  runsOrError(filter: $filter, cursor: $cursor, limit: $limit) {{
    __typename
    ... on Runs {{ results {{ {_FACTS} }} }}
    ... on InvalidPipelineRunsFilterError {{ message }}
    {_FAULT}
  }}
}}
"""

RUN_IDS = f"""
query RunIds($cursor: String, $limit: Int) {{
  runIdsOrError(cursor: $cursor, limit: $limit) {{
    __typename
    ... on RunIds {{ results }}
    {_FAULT}
  }}
}}
"""

RUNS_WITH_STEPS = f"""
query RunsWithSteps($filter: RunsFilter, $cursor: String, $limit: Int) {{
  runsOrError(filter: $filter, cursor: $cursor, limit: $limit) {{
    __typename
    ... on Runs {{
      results {{
        {_FACTS}
        stepStats {{ stepKey status startTime endTime }}
        assetMaterializations {{
          timestamp stepKey partition assetKey {{ path }} metadataEntries {{ {_METADATA} }}
        }}
      }}
    }}
    ... on InvalidPipelineRunsFilterError {{ message }}
    {_FAULT}
  }}
}}
"""

EVENTS = f"""
query Events($runId: ID!, $cursor: String, $limit: Int) {{
  logsForRun(runId: $runId, afterCursor: $cursor, limit: $limit) {{
    __typename
    ... on EventConnection {{
      cursor
      hasMore
      events {{
        __typename
        ... on MessageEvent {{ message timestamp level stepKey eventType }}
        ... on EngineEvent {{ error {{ message }} metadataEntries {{ {_METADATA} }} }}
        ... on RunFailureEvent {{ error {{ message }} }}
        ... on ExecutionStepFailureEvent {{
          error {{ message }}
          failureMetadata {{ metadataEntries {{ {_METADATA} }} }}
        }}
        ... on ExecutionStepUpForRetryEvent {{ secondsToWait }}
        ... on AssetCheckEvaluationEvent {{
          evaluation {{ checkName success partition assetKey {{ path }} }}
        }}
      }}
    }}
    ... on RunNotFoundError {{ message }}
    {_FAULT}
  }}
}}
"""

RUN_CONFIG = f"""
query RunConfig($runId: ID!) {{
  runOrError(runId: $runId) {{
    __typename
    ... on Run {{ {_FACTS} runConfig }}
    ... on RunNotFoundError {{ message }}
    {_FAULT}
  }}
}}
"""

HEALTH = """
query Health {
  version
  workspaceOrError {
    __typename
    ... on Workspace { locationEntries { name loadStatus locationOrLoadError { __typename } } }
  }
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy lastHeartbeatTime } } }
}
"""

# Purpose -> document, for the test against the schema.
ALL = {
    "launch": LAUNCH,
    "add partition": ADD_PARTITION,
    "terminate": TERMINATE,
    "runs": RUNS,
    "run ids": RUN_IDS,
    "runs with steps": RUNS_WITH_STEPS,
    "events": EVENTS,
    "run config": RUN_CONFIG,
    "health": HEALTH,
}
