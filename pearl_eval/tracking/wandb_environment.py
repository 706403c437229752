"""W&B's environment variables: cleaned before a run, and put back at its end."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

from pearl_eval.errors import reason

log = logging.getLogger(__name__)

KEY = "WANDB_API_KEY"
_DATA_DIR = "WANDB_DATA_DIR"
#: Longest name of a group or a run that W&B's server accepts, in characters.
_LONGEST_NAME = 128
#: Longest tag that W&B accepts.
_LONGEST_TAG = 64
#: Made by W&B for its own processes.
_NOT_CHECKED = {"WANDB_SERVICE"}


class WandbEnvironment:
    """W&B's variables for one run, until :meth:`restore`.

    White space around a key, as of a file that it was read from, is left out. A variable that W&B
    refuses would keep it from logging anything: it is named, and left out too. Offline artifacts,
    which wait for a sync, lie in ``data_dir``.
    """

    def __init__(self, data_dir: Path) -> None:
        self._before: dict[str, str | None] = {}
        self._set(_DATA_DIR, str(data_dir))
        key = os.environ.get(KEY)
        if key is not None and key != key.strip():
            self._set(KEY, key.strip() or None)
        if asked("TAGS"):
            self._set("WANDB_TAGS", ",".join(asked_tags()) or None)
        for name in [one for one in os.environ if one.startswith("WANDB_")]:
            if name not in _NOT_CHECKED and (why := _refused(name)):
                log.warning("%s is not used, since W&B refuses it: %s", name, why)
                self._set(name, None)

    def restore(self) -> None:
        """Leave the environment as it was."""
        for name, value in self._before.items():
            _put(name, value)
        self._before.clear()

    def _set(self, name: str, value: str | None) -> None:
        self._before.setdefault(name, os.environ.get(name))
        _put(name, value)


def asked(name: str) -> str | None:
    """What a variable of W&B's says; ``None`` where it says nothing."""
    return os.environ.get(f"WANDB_{name}", "").strip() or None


def asked_tags() -> list[str]:
    """The tags of ``WANDB_TAGS``, as W&B accepts them."""
    tags = (tag.strip() for tag in (asked("TAGS") or "").split(","))
    return [short_tag(tag) for tag in tags if tag]


def folder(directory: Path) -> Path:
    """Where W&B's files of a run go: into the run's own folder, unless ``WANDB_DIR`` says where."""
    own = asked("DIR")
    if own is None:
        return directory
    path = Path(own).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
        writable = os.access(path, os.W_OK | os.X_OK)
    except OSError:
        writable = False
    if not writable:  # W&B would go on in a temporary folder, which nobody looks into
        log.warning("WANDB_DIR=%s can't be written: W&B's files are in %s", own, directory)
        return directory
    return path


def short_name(name: str, what: str) -> str:
    """A name that W&B's server accepts, still one of its own."""
    if len(name) <= _LONGEST_NAME:
        return name
    mark = hashlib.sha256(name.encode()).hexdigest()[:8]
    short = f"{name[: _LONGEST_NAME - len(mark) - 1]}-{mark}"
    log.warning("W&B takes names of up to %d characters: its %s is %s", _LONGEST_NAME, what, short)
    return short


def short_tag(tag: str) -> str:
    """A tag that W&B accepts."""
    return tag[:_LONGEST_TAG]


def _put(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _refused(name: str) -> str:
    """Why W&B refuses a variable; empty where it does not."""
    import wandb
    from pydantic import ValidationError

    try:
        wandb.Settings().update_from_env_vars({name: os.environ[name]})
    except ValidationError as error:  # told without the value: it may be a secret
        return str(error.errors()[0]["msg"])
    except Exception as error:
        return reason(error)
    return ""
