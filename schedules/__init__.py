"""Jobs, sensors, schedules."""
