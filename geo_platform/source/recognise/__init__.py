"""Recognisers: each looks at a content's bytes and says which supported format it is, or None, or refuses by name."""
