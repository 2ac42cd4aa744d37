"""Studies of many runs: `scale`, `churn` and `prune`. `runs.py` trains the runs of a study, `launch.py` starts each."""
