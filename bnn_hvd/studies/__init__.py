"""Studies: `scale`, `churn` and `prune`. `runs.py` trains the runs of a study, `launch.py` starts one of them."""
