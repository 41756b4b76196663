"""Measure what `geo-platform serve` gives readers: tiles, rows, search, start-up."""
