"""From an object that lands to a run that is asked for, once: which objects count, when they are whole, which run takes them."""
