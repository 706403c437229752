"""The draft process of PEARL inside vLLM: ``python -m decoders.vllm.draft_process SETTINGS``.

It is started by :mod:`decoders.vllm.draft`. Nothing is imported before it is on its cores, since
libraries look then where they may compute.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import sys
import traceback
from typing import Any


def main(settings: dict[str, Any]) -> None:
    """Load the draft model and draft, until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(settings["nice"])
    if settings["cores"]:
        os.sched_setaffinity(0, settings["cores"])
    from decoders.process.channel import Channel, ChannelClosed
    from decoders.vllm.drafting import FAILED, READY, serve

    # It was started where our packages are; a relative path is meant from where vLLM runs.
    os.chdir(settings["directory"])
    channel = Channel.of_descriptors(settings["descriptors"], 1, settings["spin_seconds"])
    try:
        batch, longest = _load(settings)
        gc.collect()
        gc.freeze()
        channel.send((READY, batch.vocab_size, longest))
        serve(channel, batch)
    except ChannelClosed:
        return
    except BaseException as error:
        what = f"{type(error).__name__}: {str(error).strip() or 'no message'}"
        with contextlib.suppress(ChannelClosed):
            channel.send((FAILED, what, traceback.format_exc()))
        # What there is to say is said.
        sys.exit(1)


def _load(settings: dict[str, Any]) -> tuple[Any, int]:
    """The draft model, and the longest text that it can read."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    from decoders.model.architecture import unfit
    from decoders.model.batch import Batch
    from decoders.model.cached_model import CachedModel

    logging.disable_progress_bar()
    torch.set_num_threads(settings["threads"])
    if settings["device"] != "cpu":
        torch.cuda.set_device(settings["device"])
    loaded = AutoModelForCausalLM.from_pretrained(
        settings["location"],
        revision=settings["revision"],
        dtype=getattr(torch, settings["dtype"]),
        trust_remote_code=settings["trust_remote_code"],
    ).to(settings["device"])
    config = loaded.config.get_text_config()
    if reason := unfit(config, type(loaded)):
        raise ValueError(f"{settings['location']} is a model {reason}")
    known = min(settings["vocab_size"], config.vocab_size)
    model = CachedModel(loaded, settings["vocab_size"], known)
    with contextlib.suppress(ValueError):
        model.fuse()
    batch = Batch(model, settings["confides"])
    # What comes first takes long: it is not a request that waits for it.
    batch.read(0, [0, 0])
    batch.rollback(0, 0)
    return batch, model.architecture.context


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
