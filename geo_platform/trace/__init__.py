"""From any id to what happened: one timeline over all stores. Reads, and writes nothing; imports no store and no orchestrator."""
