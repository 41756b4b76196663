"""The vector chain: profile, read, clean and load a source into a dataset."""
