"""Search published items and collections as STAC API 1.1 describes it, in files or in pgSTAC."""
