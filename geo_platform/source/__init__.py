"""Sources: detect the format by content, find sidecars and archive members, open them safely."""
