"""docs/deployment.md names exactly the variables that the platform and Dagster's files read."""

import json
import re

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from geo_platform.settings import Settings
from tests.support.command import ROOT
from tests.support.deployment import DEPLOY, environment_read_by, production_config, read_yaml

PAGE = (ROOT / "docs" / "deployment.md").read_text("utf-8")
ROWS = dict(re.findall(r"^\| `([A-Z_]+)` \| (.*) \|$", PAGE, flags=re.MULTILINE))


def test_the_page_lists_every_setting_with_its_description() -> None:
    settings = {
        name: field.description
        for called, field in Settings.model_fields.items()
        for name in _names(called, field)
    }
    assert {
        name: meaning
        for name, meaning in ROWS.items()
        if name in settings or name.startswith("GEO_PLATFORM_")
    } == settings


def _names(called: str, field: FieldInfo) -> list[str]:
    """Return the variables of a setting: two settings have names of another vendor."""
    if field.validation_alias is None:
        return [f"GEO_PLATFORM_{called.upper()}"]
    return (
        [str(field.validation_alias)]
        if isinstance(field.validation_alias, str)
        else list(map(str, _choices(field)))
    )


def _choices(field: FieldInfo) -> list[object]:
    assert isinstance(field.validation_alias, AliasChoices)
    return list(field.validation_alias.choices)


ELSEWHERE = {
    name
    for called, field in Settings.model_fields.items()
    if field.validation_alias
    for name in _names(called, field)
}


def test_every_other_variable_is_read_or_set_by_a_file_in_deploy() -> None:
    launcher = production_config()["run_launcher"]["config"]["env_vars"]
    variables = json.loads((DEPLOY / "azure" / "container-apps.json").read_text())["variables"]
    apps = [
        entry["name"] for part in (variables, *variables["roles"]) for entry in part["environment"]
    ]
    compose = environment_read_by(read_yaml(DEPLOY / "docker" / "dagster.yaml"))
    named = {*environment_read_by(production_config()), *launcher, *apps, *compose}
    assert {name for name in ROWS if not name.startswith("GEO_PLATFORM_")} - ELSEWHERE == {
        name for name in named - ELSEWHERE if not name.startswith("GEO_PLATFORM_")
    }
