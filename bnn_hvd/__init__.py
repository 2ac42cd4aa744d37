"""Bayesian neural networks, trained data-parallel on HPC clusters."""

__version__ = "0.1.0"
