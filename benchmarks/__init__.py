"""Benchmarks: the time of a step, a message, a prediction and a start, beside other libraries' (`--help`)."""
