"""`prune`: how many weights a trained run can do without."""
