"""When what was replaced or unpublished, and kept for long enough, is removed."""

import dagster as dg

from schedules.jobs import remove_replaced

remove_replaced_daily = dg.ScheduleDefinition(
    name="remove_replaced_daily",
    job=remove_replaced,
    cron_schedule="17 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Each night: versions that were withdrawn longer ago than GEO_PLATFORM_KEEP_REPLACED_DAYS, with their files and tables.",
)

SCHEDULES = [remove_replaced_daily]
