"""One thin adapter per stage: receive a message, call the core once, report metadata."""
