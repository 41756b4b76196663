"""The command line, a composition root: it joins adapters to the core, as `definitions.py` does."""
