"""What the terminal says while the client of the Hugging Face hub tries again."""

from __future__ import annotations

import logging

import pytest

from pearl_eval.shell.hub_waits import LOGGER, tell_hub_waits

#: As huggingface_hub says it.
URL = "https://huggingface.co/Qwen/Qwen3-8B/resolve/main/config.json"


def test_who_is_waited_for_is_said_once_with_what_and_how_long(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell_hub_waits()
    tell_hub_waits()
    logger = logging.getLogger(LOGGER)
    pauses = [1, 2, 4, 8, 8]
    for number, pause in enumerate(pauses, start=1):
        logger.warning(
            f"'[Errno -2] Name or service\nnot known' thrown while requesting HEAD {URL}"
        )
        logger.warning(f"Retrying in {pause}s [Retry {number}/5].")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "pearl-eval: waiting for huggingface.co (Qwen/Qwen3-8B/resolve/main/config.json):"
        " [Errno -2] Name or service not known; asking again for about 23 s"
    )


def test_a_server_that_asks_to_wait_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    tell_hub_waits()
    logging.getLogger(LOGGER).warning("Rate limited. Waiting 31.0s before retry [Retry 1/2].")
    assert "asking again for about 62 s" in capsys.readouterr().err
