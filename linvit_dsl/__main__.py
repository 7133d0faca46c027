"""`python -m linvit_dsl`: the same as `linvit`."""

import sys

from linvit_dsl.cli import main

if __name__ == "__main__":
    sys.exit(main())
