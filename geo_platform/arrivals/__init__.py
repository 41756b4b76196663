"""Arrivals (complete sources in watched containers): find, group into runs, quarantine."""
