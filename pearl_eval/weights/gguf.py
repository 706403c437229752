"""GGUF files: where they are, what they hold, and how their model and tokenizer are read."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import io
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig
from transformers.utils import cached_file
from transformers.utils import logging as transformers_logging

from pearl_eval.errors import UserError, reason
from pearl_eval.weights.packaged import packaged_file, packaged_parts

T = TypeVar("T")
_SUFFIX = ".gguf"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Gguf:
    """A GGUF in one file, or in parts that are its bytes in order."""

    parts: tuple[Path, ...]

    @property
    def name(self) -> str:
        """What it is called, without the number of a part."""
        return re.sub(rf"(?<={re.escape(_SUFFIX)})\..*", "", self.parts[0].name)

    def digest(self) -> str:
        """A checksum of its bytes, however they are spread over parts."""
        try:
            stats = [(path, path.stat()) for path in self.parts]
            return _digest(tuple((path, one.st_size, one.st_mtime_ns) for path, one in stats))
        except OSError as error:
            raise UserError(f"{self.name} can't be read: {reason(error)}") from error

    def config(self) -> PreTrainedConfig | None:
        """The config of its model, read without its weights; ``None`` where it is in parts."""
        return None if len(self.parts) > 1 else self._read(lambda: _config(self.parts[0]))

    def weights(self, file: Path) -> int:
        """How many weights there are in ``file``, which holds all of it."""

        def count() -> int:
            # Imported late: it is of an extra.
            from gguf import GGUFReader

            reader = GGUFReader(file)
            pieces = reader.get_field("split.count")
            if pieces is not None and pieces.contents() > 1:
                raise UserError(
                    f"{self.name} is one of {pieces.contents()} pieces; join them first:"
                    " llama-gguf-split --merge FIRST-PIECE WHOLE.gguf"
                )
            return sum(int(tensor.n_elements) for tensor in reader.tensors)

        return self._read(count)

    def save(self, file: Path, folder: Path, check: Callable[[PreTrainedConfig], None]) -> None:
        """Write its model, in float32, its tokenizer and its configs as transformers does.

        Parameters
        ----------
        file
            Holds all of the GGUF.
        folder
            Where they are written.
        check
            Raises :class:`UserError` for the config of a model that is of no use.
        """
        config = self._read(lambda: _config(file))
        check(config)
        model = self._read(lambda: _model(file, config))
        tokenizer = self._read(lambda: AutoTokenizer.from_pretrained(**_where(file)))
        with _quiet():
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)

    def _read(self, read: Callable[[], T]) -> T:
        """What ``read`` gives, which a damaged file makes fail in any way, in silence."""
        if importlib.util.find_spec("gguf") is None:
            raise UserError(
                f"{self.name}: to read a GGUF needs the package gguf, an extra: pip install"
                " 'pearl-eval[gguf]'"
            )
        try:
            with _quiet():
                return read()
        except (UserError, MemoryError):
            raise
        except Exception as error:  # whatever is thrown over a file that is not ours
            raise UserError(
                f"{self.name} is not a whole GGUF of a model that transformers can read: it is"
                f" damaged or cut short, or of another kind ({reason(error)})"
            ) from error

    def whole(self, folder: Path) -> Path:
        """A file that holds all of it, alone in a folder, and so read without what lies beside it.

        Parts are joined there.
        """
        file = folder / f"model{_SUFFIX}"
        if len(self.parts) == 1:
            file.symlink_to(self.parts[0].absolute())
            return file
        with file.open("xb") as joined:
            for path in self.parts:
                with path.open("rb") as part:
                    shutil.copyfileobj(part, joined, _BLOCK)
        return file


def find_gguf(
    path: str | None,
    gguf_file: str | None,
    package: str | Sequence[str] | None,
    revision: str | None = None,
    local_files_only: bool = False,
) -> Gguf | None:
    """The GGUF that a model's settings name; ``None`` where they name none, or it is not here.

    See ``ModelConfig`` in ``pearl_eval/pairs/model_config.py`` for the settings.

    Raises
    ------
    UserError
        There is no such file.
    """
    if package is not None:
        if not isinstance(package, str):
            return Gguf(packaged_parts(package))
        return Gguf((packaged_file(package, gguf_file),))
    path = path or ""
    here = Path(path).expanduser()
    if gguf_file is None:
        return Gguf((here,)) if here.is_file() else None
    if here.is_dir():
        if not (here / gguf_file).is_file():
            raise UserError(f"{here} has no file {gguf_file}")
        return Gguf((here / gguf_file,))
    try:
        found = cached_file(path, gguf_file, revision=revision, local_files_only=local_files_only)
    except Exception as error:  # whatever is thrown over a hub's answer
        if local_files_only:
            return None
        raise UserError(f"{path} has no file {gguf_file} ({reason(error)})") from error
    return None if found is None else Gguf((Path(found),))


@functools.lru_cache
def _digest(files: tuple[tuple[Path, int, int], ...]) -> str:
    """Of files by their names, sizes and times of change: read once, while these are the same."""
    found = hashlib.sha256()
    for path, *_ in files:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                found.update(block)
    return found.hexdigest()


def _where(file: Path) -> dict[str, Any]:
    """As transformers is told of a file."""
    return {
        "pretrained_model_name_or_path": file.parent,
        "gguf_file": file.name,
        "trust_remote_code": False,
    }


def _config(file: Path) -> PreTrainedConfig:
    return AutoConfig.from_pretrained(**_where(file))


def _model(file: Path, config: PreTrainedConfig) -> Any:
    """The model in a file as one that can be saved: what is loaded of a GGUF can't be."""
    options: dict[str, Any] = {}
    # Not every version that we work with has it: there, all weights are always dequantised.
    if hasattr(transformers, "GgufConfig"):
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    loaded, report = cast(Any, AutoModelForCausalLM).from_pretrained(
        **_where(file), config=config, dtype=torch.float32, output_loading_info=True, **options
    )
    absent = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
    if absent:
        raise ValueError(f"{len(absent)} weights are missing, the first is {absent[0]}")
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    # Assigned, not copied: there is never a second copy of the weights.
    model.load_state_dict(loaded.state_dict(), assign=True)
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own account of how it reads a GGUF; its bars are for terminals."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    with contextlib.ExitStack() as bars:
        if not sys.stderr.isatty():
            bars.enter_context(contextlib.redirect_stderr(io.StringIO()))
        try:
            yield
        finally:
            transformers_logging.set_verbosity(verbosity)
