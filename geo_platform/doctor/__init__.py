"""Compare the stores with each other, report mismatches, and mend those that are safe to mend."""
