"""Changes that ``mutation.py`` has made and that change nothing anyone could see, and why.

A file, the line as it was, and as it was made: what is listed here is left out of the score.
"""

from __future__ import annotations

EQUIVALENT: list[tuple[str, str, str, str]] = []
