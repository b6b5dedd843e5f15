import sys

from helox.cli import main

if __name__ == "__main__":
    sys.exit(main())
