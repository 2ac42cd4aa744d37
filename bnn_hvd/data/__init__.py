"""Data sets: files -> numpy (formats, sources), rank arithmetic (shards), standardisation, downloads."""
