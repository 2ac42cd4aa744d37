"""The run directory: the names of its files, atomic writes, its lock, checkpoints and provenance."""
