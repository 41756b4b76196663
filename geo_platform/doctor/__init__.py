"""What the stores say, held against each other: what does not fit together, and what of it can be mended safely."""
