"""``python docs/tiny_pair``: train the tiny pair from its recipe."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import hydra
from omegaconf import DictConfig, OmegaConf

from pearl_eval.errors import UserError
from pearl_eval.training.fitting import Schedule
from tiny_pair.batches import Packing
from tiny_pair.card import write_card
from tiny_pair.held_out import write_held_out
from tiny_pair.prompts import ContinuationPlan
from tiny_pair.recipe import Distillation, Recipe, train_pair
from tiny_pair.report import HELD_OUT_SEED, measure_pair, save_results
from tiny_pair.saving import load_pair, save_pair, weight_bytes
from tiny_pair.shapes import Shape

log = logging.getLogger(__name__)


def recipe_from(config: DictConfig) -> Recipe:
    """The recipe that a composed configuration describes."""
    values = cast(dict[str, Any], OmegaConf.to_container(config.recipe, resolve=True))
    return Recipe(
        target=Shape(**values.pop("target")),
        draft=Shape(**values.pop("draft")),
        packing=Packing(**values.pop("packing")),
        target_schedule=Schedule(**values.pop("target_schedule")),
        draft_schedule=Schedule(**values.pop("draft_schedule")),
        continuations=ContinuationPlan(**values.pop("continuations")),
        distillation=Distillation(**values.pop("distillation")),
        **values,
    )


def check_work(recipe: Recipe, work: Path) -> None:
    """Stop if ``work`` holds the beginning of another recipe: mixing two gives neither."""
    path = work / "recipe.json"
    text = json.dumps(asdict(recipe), indent=2) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise UserError(
            f"{work} was begun with another recipe (see {path}). "
            "Give another work=, or delete that folder."
        )
    work.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def run(config: DictConfig) -> Path:
    """Train, save and measure the pair.

    Returns
    -------
    Path
        The folder with ``target/``, ``draft/``, ``MODEL_CARD.md`` and ``results.json``.
    """
    work, folder = Path(config.work).resolve(), Path(config.save).resolve()
    if config.held_out is not None:
        for path in write_held_out(Path(config.held_out), HELD_OUT_SEED, config.measure.problems):
            log.info("Held-out problems in %s", path)
    recipe = recipe_from(config)
    check_work(recipe, work)
    log.info("Working in %s; start again with the same work= to go on from there.", work)
    made = train_pair(recipe, work)
    save_pair(made.target, made.draft, made.tokenizer, folder)
    log.info("Pair of %.1f MB in %s", weight_bytes(folder) / 1e6, folder)
    # Measured as saved, with weights rounded to bfloat16.
    target, draft, tokenizer = load_pair(folder)
    results = measure_pair(
        target,
        draft,
        tokenizer,
        dict(config.measure.prompts),
        config.measure.problems,
        config.measure.most,
        config.measure.new_tokens,
    )
    save_results(results, work / "results.json")
    write_card(
        folder / "MODEL_CARD.md",
        recipe,
        made,
        results,
        weight_bytes(folder),
        config.measure.new_tokens,
    )
    for name, rate in results.acceptance.items():
        log.info("acceptance rate, %s: %.3f", name, rate.rate)
    for name, score in results.scores.items():
        log.info("target, %s: %.2f", name, score)
    log.info("speed ratio c: %.1f", results.speed_ratio)
    return folder


@hydra.main(str(Path(__file__).resolve().parent / "conf"), "tiny", version_base="1.3")
def main(config: DictConfig) -> None:
    """Entry point; see ``--help``."""
    try:
        run(config)
    except UserError as error:
        sys.exit(str(error))
