"""The command `python -m bnn_hvd <verb> --flags`."""

import sys

from bnn_hvd.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv))
