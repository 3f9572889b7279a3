"""`python -m autograd_c` is the command `autograd-c`."""

from autograd_c.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
