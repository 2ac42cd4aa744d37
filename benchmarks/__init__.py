"""Benchmarks of steps, messages, predictions and starts, also of other libraries: `python -m benchmarks --help`."""
