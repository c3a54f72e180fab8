"""`python -m runner.simulator`: serve until told to stop."""

import sys

from runner.simulator.server import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
