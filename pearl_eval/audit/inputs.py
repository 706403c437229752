"""What there is to judge: files read, rows tokenised, and what can't be kept aside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pearl_eval.audit.config import AuditConfig
from pearl_eval.audit.defaults import Defaults
from pearl_eval.audit.forms import read_outputs
from pearl_eval.audit.own_runs import run_settings
from pearl_eval.audit.processors import Applied, Processed
from pearl_eval.audit.rows import AuditRow, UnfitRow, Unusable
from pearl_eval.audit.texts import RowText, TextReading
from pearl_eval.config.building import plain
from pearl_eval.errors import UserError
from pearl_eval.pairs.pair import Pair


@dataclass(frozen=True)
class Input:
    """What is to be judged of a file, and what of it can't be."""

    file: str
    texts: list[RowText]
    unusable: list[Unusable]


class Inputs:
    """Makes texts of files. No weights are needed for it.

    Parameters
    ----------
    config
        What was asked for.
    pair
        The pair whose target is held against.
    defaults
        What counts where rows say nothing.
    """

    def __init__(self, config: AuditConfig, pair: Pair, defaults: Defaults) -> None:
        self._requests = Path(config.requests) if config.requests else None
        self._told: dict[str, Any] = plain(OmegaConf.create(config.applied))
        self._pair, self._defaults = pair, defaults
        self.reading = TextReading(pair, config.special_tokens)
        self._runs: dict[Path, dict[str, Any]] = {}

    def file(self, name: str) -> Input:
        """The texts of a file. :class:`UserError` where there is no such file, or it is empty."""
        outputs = read_outputs(Path(name), self._requests)
        texts, unusable = [], list(outputs.unusable)
        for row in outputs.rows:
            try:
                texts.append(self._text(row))
            except (UnfitRow, UserError) as error:
                unusable.append(Unusable(row.place, str(error)))
        unusable.sort(key=lambda one: one.place.line)
        return Input(name, texts, unusable)

    def processed(self, text: RowText, device: Any = "cpu") -> Processed:
        """What was applied to the scores of a text. UnfitRow where that can't be."""
        forbidden = self._defaults.ends.forbidden(text.applied)
        return Processed(
            text.applied, text.ids, text.begin, forbidden, self._pair.tokenizer, device
        )

    def _text(self, row: AuditRow) -> RowText:
        if row.own_run:
            applied = Applied.of(self._of_run(Path(row.place.file).parent), {})
        else:
            applied = Applied.of({**self._told, **row.settings}, self._defaults.settings)
        text = self.reading.text(row, applied, self._defaults.ends)
        self.processed(text)  # what it can't be made of is told before a model is loaded
        return text

    def _of_run(self, folder: Path) -> dict[str, Any]:
        if folder not in self._runs:
            self._runs[folder] = run_settings(folder)
        return self._runs[folder]
