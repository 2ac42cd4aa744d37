"""`predict`: posterior draws -> the predictive distribution and its uncertainty. Read `predict.py` first."""
