"""The settings of a model: where its weights are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from decoders.process.models import Checkpoint
from pearl_eval.errors import UserError
from pearl_eval.shell.console import print_note
from pearl_eval.weights.conversion import converted, converted_before
from pearl_eval.weights.gguf import Gguf, find_gguf


@dataclass
class ModelConfig:
    """A model by folder, hub id or installed package, and how many GPUs it is spread over.

    Parameters
    ----------
    path
        A folder, a hub id, or a GGUF file.
    revision
        Of a hub id.
    gpus
        GPUs that it is spread over, by layers. Null: it needs none, and takes one where there is
        one.
    gguf_file
        The name of the GGUF file to take in a folder, a hub's repository or a package.
    package
        An installed Python package that has a GGUF file, instead of ``path``; or a list of packages
        that have a part of it each, in order.
    """

    path: str | None = None
    revision: str | None = None
    gpus: int | None = None
    gguf_file: str | None = None
    package: Any = None

    def check(self, role: str) -> None:
        """Raise ``ValueError`` where it names no model, or two."""
        several = isinstance(self.package, list)
        names = self.package if several else [self.package]
        if self.package is None:
            if not self.path:
                raise ValueError(
                    f"pair.{role} names no model: give a folder or hub id by pair.{role}.path, or"
                    f" an installed package that has a GGUF file by pair.{role}.package"
                )
        elif not names or not all(isinstance(name, str) and name for name in names):
            raise ValueError(
                f"pair.{role}.package is the name of an installed package, or a list of such, got"
                f" {self.package!r}"
            )
        elif self.path is not None:
            raise ValueError(
                f"pair.{role} names two models, path={self.path} and package={self.package}: set"
                " one of them to null"
            )
        elif self.gguf_file is not None and several:
            raise ValueError(
                f"pair.{role}.gguf_file={self.gguf_file} chooses a file of one package, and"
                f" pair.{role}.package has a list of them: leave it out"
            )

    def named(self, role: str) -> str:
        """What errors call it."""
        if self.package is not None:
            return f"pair.{role}.package={self.package}"
        return f"pair.{role}.path={self.path}"

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine, and not a hub's."""
        return self.package is not None or is_local(self.path or "")

    def gguf(self, role: str, local_files_only: bool = False) -> Gguf | None:
        """The GGUF that it is in; ``None`` where it is in none, or that would have to be fetched.

        Raises
        ------
        UserError
            Its file is not there, or it names no model, or two.
        """
        try:
            self.check(role)
        except ValueError as error:
            raise UserError(str(error)) from error
        try:
            return find_gguf(
                self.path, self.gguf_file, self.package, self.revision, local_files_only
            )
        except UserError as error:
            raise UserError(f"{self.named(role)}: {error}") from error

    def checkpoint(
        self, role: str, check: Callable[[PreTrainedConfig], None] = lambda config: None
    ) -> Checkpoint:
        """What transformers and engines load from. A GGUF is converted for that, once.

        ``check`` raises :class:`UserError` for a config whose model need not be converted.
        """
        gguf = self.gguf(role)
        if gguf is not None:
            try:
                return Checkpoint(str(converted(gguf, print_note, check)))
            except UserError as error:
                raise UserError(f"{self.named(role)}: {error}") from error
        path = self.path or ""
        # ``~`` is written out where it is a folder.
        location = str(Path(path).expanduser()) if is_local(path) else path
        return Checkpoint(location, self.revision)

    def config_without_hub(self, role: str) -> PreTrainedConfig | None:
        """Its config, if that is on this machine. Nothing is converted for it."""
        gguf = self.gguf(role, local_files_only=True)
        if gguf is None and self.gguf_file is not None:
            return None
        if gguf is not None:
            folder = converted_before(gguf)
            if folder is None:
                try:
                    return gguf.config()
                except UserError as error:
                    raise UserError(f"{self.named(role)}: {error}") from error
            where = Checkpoint(str(folder))
        else:
            where = self.checkpoint(role)
        try:
            return AutoConfig.from_pretrained(
                where.location,
                revision=where.revision,
                local_files_only=True,
                trust_remote_code=False,
            )
        except (OSError, ValueError):
            return None


def model_name(settings: Mapping[str, Any]) -> str:
    """The target's name by a pair's ``target_settings``: a package or path, and the file there; of
    one that is made of another model, that one's."""
    if settings.get("draft") and "depth" in settings:
        return f"{model_name({'model': settings['draft']})} and {settings['depth']} further layers"
    model = settings.get("model") or {}
    where = model.get("package") or model.get("path") or ""
    name = where if isinstance(where, str) else ", ".join(where)
    return f"{name}/{model['gguf_file']}" if model.get("gguf_file") else name


def is_local(path: str) -> bool:
    """Whether a path means a folder here, not a hub id."""
    return path.startswith(("/", ".", "~")) or path.count("/") > 1 or Path(path).exists()
