"""`train`: the loop, its inputs (plan, schedules, task) and its records (logbook, report). Read `train.py` first."""
