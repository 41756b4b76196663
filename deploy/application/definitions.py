"""What Dagster loads (workspace.yaml names this file): the platform's definitions.

They are built on the assets of this folder; `assets/modules.py` lists the modules. Add jobs or
sensors of your own with `dagster.Definitions.merge(platform.defs, dagster.Definitions(...))`.
"""

from geo_platform import code_location as platform

defs = platform.defs
