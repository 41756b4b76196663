"""profile -> read -> clean -> load: from a vector source to a dataset whose every row is accounted for."""
