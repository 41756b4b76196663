"""Put the application into the wheel, as geo_platform/application. All else is in pyproject.toml.

The application's folders stay at the top of the repository. An editable install gets no copy: its
root is the checkout.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
APPLICATION = ("assets", "resources", "schedules", "samples", "deploy", "contracts.lock.json")
# Templates of what an application root holds that is not a package of this repository.
OWN_ROOT = ("definitions.py", "workspace.yaml")
# What a checkout may hold that is not part of the application: caches and secrets.
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "secrets", "node_modules")


class BuildWithApplication(build_py):
    def run(self) -> None:
        if self.editable_mode:
            super().run()
            return
        package = Path(self.build_lib) / "geo_platform"
        # setuptools builds on top of an earlier build, and would keep modules that are gone.
        shutil.rmtree(package, ignore_errors=True)
        super().run()
        target = package / "application"
        target.mkdir(parents=True)
        for name in APPLICATION:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, target / name, ignore=LEFT_OUT)
            else:
                shutil.copy2(source, target / name)
        for name in OWN_ROOT:
            shutil.copy2(ROOT / "deploy" / "application" / name, target / name)


setup(cmdclass={"build_py": BuildWithApplication})
