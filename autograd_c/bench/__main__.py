"""``python -m autograd_c.bench`` is ``autograd-c bench``."""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
