"""A draft process for vLLM that goes wrong as it is told: ``$FAULT``."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from typing import Any

from decoders.process.channel import Channel, ChannelClosed


def main(settings: dict[str, Any], fault: str) -> None:
    channel = Channel.of_descriptors(tuple(settings["descriptors"]), 1, 0.0)
    if fault == "never ready":
        time.sleep(60)
    if fault == "not loaded":
        channel.send(("failed", "OSError: no such model", "Traceback"))
        channel.receive()
    if fault == "ends":
        sys.exit(3)
    channel.send(("ready", 300, 2048))
    while True:
        # The first text is answered as it should be, with three tokens.
        _, _, begun, updates = channel.receive()
        for number, tokens, _ in begun:
            for count in range(3):
                channel.send(
                    ("drafted", 1.0, 0.5, [(number, 0, len(tokens) // 4 + count, 7 + count, 0.5)])
                )
        for number, update, start, tokens, _ in updates:
            position = start + len(tokens)
            for message in {
                "token": [("drafted", 1.0, 0.5, [(number, update, position, 300, 0.5)])],
                "position": [("drafted", 1.0, 0.5, [(number, update, position + 1, 7, 0.5)])],
                "lineage": [("drafted", 1.0, 0.5, [(number, update + 1, position, 7, 0.5)])],
                "seconds": [("drafted", 1.0, float("nan"), [(number, update, position, 7, 0.5)])],
                "confidence": [("drafted", 1.0, 0.5, [(number, update, position, 7, 1.5)])],
                "message": ["what?"],
                "word": [("proposal", [1, 2])],
                "short": [("drafted", 1.0)],
                "fails": [("failed", "OutOfMemoryError: no room", "Traceback")],
            }.get(fault, []):
                channel.send(message)
            if fault == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if fault == "stopped":
                os.kill(os.getpid(), signal.SIGSTOP)


if __name__ == "__main__":
    with contextlib.suppress(ChannelClosed):
        main(json.loads(sys.argv[1]), os.environ["FAULT"])
