"""Run as ``python docs/tiny_pair``."""

import sys
from pathlib import Path

# By their folder's path its files would be on their own; they are a package.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from tiny_pair.cli import main  # noqa: E402

main()
