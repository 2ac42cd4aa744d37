"""What a step, a message, a prediction and a start cost, beside the peers: `python -m benchmarks --help`."""
