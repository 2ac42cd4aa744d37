"""`train`: the one loop, what it is given, and what it writes down. Read `train.py` first."""
