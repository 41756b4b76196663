"""Find the runs to which an id leads, and build a timeline of each over all stores. Read only."""
