"""Scores, calibration and uncertainty of predictions, and convergence of chains. Without TensorFlow."""
