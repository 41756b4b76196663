"""Jobs over HTTP: submit, follow, list, cancel, upload."""
