"""What arrived: its format by content, its archive members and sidecars, and a safe way for a driver to read it."""
