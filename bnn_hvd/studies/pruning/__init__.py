"""`prune`: scores of a trained network without some of its weights."""
