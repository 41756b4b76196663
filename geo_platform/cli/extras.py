"""Name the extra of the package to install when a module is missing.

Called by `main.py`.
"""

from collections.abc import Iterator

# Module or package -> the extra of pyproject.toml that installs it. A package covers its modules.
EXTRA_OF_MODULE = {
    "adbc_driver_manager": "production",
    "adbc_driver_postgresql": "production",
    "azure": "production",
    "azure.monitor": "telemetry",
    "cql2": "serving",
    "dagster": "jobs",
    "dagster_azure": "containers",
    "dagster_dg_cli": "jobs",
    "dagster_k8s": "containers",
    "dagster_postgres": "containers",
    "dagster_webserver": "jobs",
    "duckdb": "serving",
    "fastapi": "serve",
    "graphql": "serve",
    "httptools": "serve",
    "httpx": "serve",
    "jwt": "serve",
    "limits": "serve",
    "numexpr": "serving",
    "pmtiles": "serving",
    "opentelemetry.exporter": "telemetry",
    "opentelemetry.sdk": "telemetry",
    "prometheus_client": "serve",
    "psycopg": "production",
    "psycopg_pool": "serving",
    "pypgstac": "production",
    "rio_tiler": "serving",
    "sqlalchemy": "jobs",
    "stac_fastapi": "serving",
    "starlette": "serve",
    "uvicorn": "serve",
    "uvloop": "serve",
    "websockets": "serve",
}


def missing_extra(error: BaseException) -> str | None:
    """Return a sentence with the missing module and the command that installs it.

    Return None if neither the error nor any of its causes is a missing module of an extra.
    """
    for module in _missing_modules(error):
        names = module.split(".")
        for length in range(len(names), 0, -1):
            extra = EXTRA_OF_MODULE.get(".".join(names[:length]))
            if extra is not None:
                return (
                    f"This command needs the extra {extra!r}: the module {module} is not "
                    f"installed. Install it: pip install 'geo-platform[{extra}]', or "
                    "'geo-platform[all]' for every command."
                )
    return None


def _missing_modules(error: BaseException | None) -> Iterator[str]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, ModuleNotFoundError) and error.name:
            yield error.name
        error = error.__cause__ or error.__context__
