"""What two models cost each other on one card: in two processes, on two streams, under MPS."""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping

import torch

from decoders.draft_length import time_drafts, time_forwards, time_together
from decoders.model.cached_model import CachedModel
from decoders.process.clock import clock
from decoders.process.drafter import Drafter
from decoders.sampling.sampler import Greedy
from gpu_check import forwards
from gpu_check.card import device, free
from gpu_check.rows import rehearsed, tell
from gpu_check.setups import PAIRS
from pearl_eval.config.schema import ForwardKind
from pearl_eval.machine.placement import placed
from pearl_eval.pairs.setup import Setup
from pearl_eval.simulation.forwards import Surface, measured_slowdown

#: The pair whose models compete.
_PAIR = "llama_1b_8b"
_CONTROL = "nvidia-cuda-mps-control"
#: Windows of the target; the draft model drafts as many tokens meanwhile.
_WINDOWS = (1, 4, 8)


def main(arguments: list[str]) -> int:
    setup = PAIRS[_PAIR].setup(ForwardKind.cuda_graphs)
    with placed(setup.processes.target):
        target = setup.load_target()
        if "--under-mps" in arguments:
            _processes("two processes under MPS", setup, target)
            return 0
        _processes("two processes", setup, target)
        _streams(target, setup.load_draft())
    # Their memory is for the processes that come now.
    del target
    free()
    return _under_mps()


def _processes(what: str, setup: Setup, target: CachedModel) -> None:
    count, context = forwards.repeats(), forwards.CONTEXT
    models = setup.models(target)
    drafter = Drafter(models.load_draft, Greedy(), models.draft_process)
    with contextlib.closing(drafter):
        drafter.wait_ready()
        alone = {
            (w, context): statistics.median(time_forwards(target, w, context, count))
            for w in _WINDOWS
        }
        draft = statistics.median(time_drafts(drafter, context, count, 8))
        beside = []
        for window in _WINDOWS:
            both, drafting = time_together(target, drafter, window, context, count)
            beside.append((window, statistics.median(both), statistics.median(drafting), context))
    slowdown = measured_slowdown(Surface.of(alone), Surface.of({(1, context): draft}), beside)
    _tell(what, slowdown.target, slowdown.draft)


def _streams(target: CachedModel, draft: CachedModel) -> None:
    seconds = 0.2 if rehearsed() else 1.0
    for model in (target, draft):
        # Whatever is recorded is recorded while nothing else runs.
        _rate(model, 0.1)
    target_alone, draft_alone = _rate(target, seconds), _rate(draft, seconds)
    rates: dict[str, float] = {}
    threads = [
        threading.Thread(target=lambda n=n, m=m: rates.update({n: _rate(m, seconds)}))
        for n, m in (("target", target), ("draft", draft))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _tell("one process, two streams", target_alone / rates["target"], draft_alone / rates["draft"])


@torch.inference_mode()
def _rate(model: CachedModel, seconds: float) -> float:
    """Forwards of one token a second, one after the other, on a stream of their own."""
    text = [1] * (forwards.CONTEXT + 1)
    count = 0
    with _stream():
        model.rollback(0)
        model.extend(text[:-1], rows=1).argmax(dim=-1).tolist()
        start = clock()
        while clock() - start < seconds or not count:
            model.rollback(forwards.CONTEXT)
            # Reading the token waits for this stream, not for the device.
            model.extend(text, rows=1).argmax(dim=-1).tolist()
            count += 1
        return count / (clock() - start)


@contextlib.contextmanager
def _stream() -> Iterator[None]:
    if device().type != "cuda":
        yield
        return
    # After what the default stream has been asked for, weights among it.
    torch.cuda.synchronize(device())
    with torch.cuda.stream(torch.cuda.Stream(device())):
        yield


def _under_mps() -> int:
    """Two processes again, under a server of NVIDIA's that is started for them alone."""
    if device().type != "cuda":
        tell("MPS", "not there", "a CPU has none; what would run under it was run without")
        return _again(os.environ)
    control = shutil.which(_CONTROL)
    if control is None:
        tell("two processes under MPS", "not tried", f"there is no {_CONTROL} here")
        return 0
    folder = tempfile.mkdtemp(prefix="mps-")
    environment = os.environ | {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
    # In the foreground, so that it ends with this step at the latest.
    server = subprocess.Popen([control, "-f"], env=environment, stdin=subprocess.DEVNULL)
    try:
        time.sleep(1.0)
        if server.poll() is not None:
            tell("two processes under MPS", "not tried", f"{_CONTROL} ended at once")
            return 0
        if code := _again(environment):
            # Not of ours: a card may be there and its server not be allowed to.
            tell("two processes under MPS", "failed", f"exit code {code}; see log.txt")
        return 0
    finally:
        server.terminate()
        server.wait(10)


def _again(environment: Mapping[str, str]) -> int:
    return subprocess.run(
        [sys.executable, "-m", "gpu_check.contention", "--under-mps"], env=dict(environment)
    ).returncode


def _tell(what: str, target: float, draft: float) -> None:
    tell(what, f"target {target:.2f}×, draft model {draft:.2f}×", "time while both compute ÷ alone")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
