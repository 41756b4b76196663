"""Compare the stores with each other, report what does not fit, and mend what is safe to mend."""
