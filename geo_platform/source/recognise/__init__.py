"""Recognise a format by content: each function returns the format, None, or refuses by name."""
