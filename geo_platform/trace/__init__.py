"""Find what happened under any id: one timeline over all stores. Read only."""
