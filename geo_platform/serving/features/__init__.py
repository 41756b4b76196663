"""Features of published vector items: rows by place, time and condition, and vector tiles."""
