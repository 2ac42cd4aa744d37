"""The package from Python: `bnn_hvd.load` and what it returns. Read `run.py` first."""
