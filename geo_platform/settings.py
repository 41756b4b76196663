"""The only reader of the environment. Read when called, never at import.

What belongs here: where things are and what they may cost. What stays out: the parameters of a request (`options.py`).
"""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

APPLICATION_MARKER = "workspace.yaml"


class Settings(BaseSettings):
    """Every setting has a default that works on one machine; each is set by GEO_PLATFORM_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="GEO_PLATFORM_", extra="ignore", frozen=True)

    home: Path | None = Field(None, description="Folder of all data; left out, .geo in the application root.")
    application_root: Path | None = Field(None, description="Folder that holds workspace.yaml.")
    scratch: Path | None = Field(None, description="Folder for files in the making; left out, scratch in the home.")

    @property
    def home_dir(self) -> Path:
        if self.home is not None:
            return self.home.expanduser().absolute()
        return (find_application_root(self.application_root) or Path.cwd()) / ".geo"

    @property
    def scratch_dir(self) -> Path:
        """On the same file system as the store, so that publishing is a rename."""
        return self.scratch.expanduser().absolute() if self.scratch else self.home_dir / "scratch"

    @property
    def store_dir(self) -> Path:
        return self.home_dir / "store"

    @property
    def catalog_dir(self) -> Path:
        return self.home_dir

    @property
    def dagster_home_dir(self) -> Path:
        return self.home_dir / "dagster"

    @property
    def log_file(self) -> Path:
        return self.home_dir / "logs" / "platform.jsonl"


def load_settings() -> Settings:
    """Read the environment now. Raises pydantic.ValidationError where a value does not fit."""
    return Settings()


def find_application_root(explicit: Path | None = None, *, start: Path | None = None) -> Path | None:
    """The folder that holds `workspace.yaml`: the explicit one, the current folder upwards, or beside the package.

    Returns None where there is none, as in an installation of the wheel alone.
    """
    if explicit is not None:
        return explicit.expanduser().absolute()
    here = (start or Path.cwd()).absolute()
    beside_package = Path(__file__).resolve().parent.parent
    candidates = (here, *here.parents, beside_package)
    return next((folder for folder in candidates if (folder / APPLICATION_MARKER).is_file()), None)
