"""From an object that lands to one requested run: find arrivals, group them, request runs once."""
