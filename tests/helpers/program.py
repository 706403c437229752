"""``pearl-eval`` as a user starts it."""

from __future__ import annotations

import sys
from pathlib import Path

PROGRAM = str(Path(sys.executable).with_name("pearl-eval"))
