"""profile -> plan -> write -> verify: from a raster source to a verified COG."""
