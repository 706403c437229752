"""A note on what is waited for while the Hugging Face hub does not answer."""

from __future__ import annotations

import logging
import re
from urllib.parse import urlsplit

from pearl_eval.shell.console import print_note

#: Where its client says of each failed request what failed, and when it asks again.
LOGGER = "huggingface_hub.utils._http"
_FAILED = re.compile(r"'(?P<why>.*)' thrown while requesting \w+ (?P<url>\S+)", re.DOTALL)
_AGAIN = re.compile(r"(?:Retrying in|Waiting) (?P<pause>[\d.]+)s.*\[Retry 1/(?P<most>\d+)\]")
#: Its pauses double up to this, in seconds.
_LONGEST_PAUSE = 8.0


class _Notes(logging.Handler):
    """A note where a request is tried again for the first time: of whom, of what, for how long."""

    def __init__(self) -> None:
        super().__init__()
        self._failed = ("the Hugging Face hub", "it does not answer")

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        if failed := _FAILED.search(said):
            url = urlsplit(failed["url"])
            why = " ".join(failed["why"].split())
            self._failed = (f"{url.hostname} ({url.path.strip('/')})", why)
        elif again := _AGAIN.search(said):
            where, why = self._failed
            seconds = sum(_pauses(float(again["pause"]), int(again["most"])))
            print_note(
                f"waiting for {where}: {why}; asking again for about {seconds:.0f} s"
                " (HF_HUB_OFFLINE=1 asks nobody)"
            )


def tell_hub_waits() -> None:
    """Say in the terminal what the hub's client waits for, from now on."""
    logger = logging.getLogger(LOGGER)
    if not any(isinstance(one, _Notes) for one in logger.handlers):
        logger.addHandler(_Notes())
    logger.setLevel(logging.WARNING)
    logger.propagate = False  # its own account of each try is long


def _pauses(first: float, tries: int) -> list[float]:
    return [max(first, min(_LONGEST_PAUSE, first * 2**i)) for i in range(tries)]
