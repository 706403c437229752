"""A draft model for a target, from prompts to a folder that any decoder can load."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from pearl_eval.config.building import section
from pearl_eval.config.schema import RuntimeConfig, check_seed
from pearl_eval.errors import RunInUse, UserError
from pearl_eval.evaluation.reservation import reserve
from pearl_eval.machine.placement import placed
from pearl_eval.pairs.model_config import model_name
from pearl_eval.pairs.setup import Setup
from pearl_eval.results.journal import held, replacing, write_json
from pearl_eval.shell.console import console, print_note
from pearl_eval.training.card import write_card
from pearl_eval.training.config import DistillConfig, DraftConfig, FitConfig, TextConfig
from pearl_eval.training.corpus import Corpus
from pearl_eval.training.draft import (
    check_head,
    frequent_tokens,
    go_on_from,
    kept_tokens,
    make_draft,
    save_draft,
    spread,
)
from pearl_eval.training.draft_training import Accepted, DraftTraining, rates, schedule
from pearl_eval.training.fitting import Fitted, fit
from pearl_eval.training.made_texts import SETTINGS, TEXTS, WORK, as_saved, made_texts
from pearl_eval.training.target_text import TargetText

FIT, LEARNED, CHECKPOINT = f"{WORK}/fit.json", f"{WORK}/learned.json", "draft.pt"
RESULTS = "distillation.json"
#: Settings of texts that only add to what there is.
_MORE_TEXT = {"tokens", "made"}


def distill(cfg: DictConfig) -> Path:
    """Make the draft model that a configuration describes, going on from where it was broken off.

    Raises
    ------
    UserError
        For whatever can't be, before the target is loaded where that can be told.
    """
    config = DistillConfig(**{name: cfg[name] for name in DistillConfig.__dataclass_fields__})
    text = section("text", TextConfig, config.text)
    shape = section("draft", DraftConfig, config.draft)
    fitting = section("fit", FitConfig, config.fit)
    _check(config.seed, text, shape, fitting)
    if not config.folder:
        raise UserError("folder=DIR is missing: where the draft model is to come to be")
    folder = Path(config.folder).expanduser()
    setup = Setup.make(
        config.pair, section("runtime", RuntimeConfig, config.runtime), uses_draft=False
    )
    if setup.pair.synthetic:
        raise UserError("a synthetic pair makes its tokens up: there is nothing to learn")
    target = dict(setup.pair.weights) | setup.source.target_settings()
    made = made_texts(text.made, target)
    corpus = Corpus(setup.pair, text, config.seed, folder / TEXTS, made)
    begun = _begun(folder, target, text, shape, fitting, config.seed)
    with _alone(folder), reserve(setup) as setup, placed(setup.processes.target):
        model: Any = setup.pair.load_target().model
        check_head(model)
        count = model.config.get_text_config().num_hidden_layers
        layers = shape.layers if shape.layers is not None else spread(count, shape.depth)
        draft = make_draft(model, layers)
        if shape.start is not None:
            go_on_from(draft, Path(shape.start).expanduser())
        # Not before, so that what was refused was not begun.
        for path, content in begun.items():
            _note(path, content)
        corpus.make(model)
        del model
        results = _fitted(draft, layers, setup, corpus, config.seed, shape, fitting, folder)
        write_json(folder / RESULTS, results | {"text": asdict(text), "seed": config.seed})
        write_card(folder / "README.md", model_name(setup.source.target_settings()), results)
    _tell(results, folder)
    return folder


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else is at work in the folder; nothing is left of it if nothing was begun.

    Raises :class:`RunInUse` where another process is.
    """
    work = folder / WORK
    work.mkdir(parents=True, exist_ok=True)
    with held(work) as ours:
        if not ours:
            raise RunInUse(folder)
        try:
            yield
        finally:
            for empty in (work, folder):
                with contextlib.suppress(OSError):
                    empty.rmdir()


def _fitted(
    draft: Any,
    layers: list[int],
    setup: Setup,
    corpus: Corpus,
    seed: int,
    shape: DraftConfig,
    fitting: FitConfig,
    folder: Path,
) -> dict[str, Any]:
    """Train and save a draft model; what came of it."""
    learned = list(corpus.learned())
    if not learned:
        raise UserError(
            "all that the target wrote has a prompt of text.held_back in it, or one of what"
            " acceptance is measured on"
        )
    _same_text(folder, learned)
    vocab_size = draft.config.get_text_config().vocab_size
    kept = kept_tokens(Path(shape.start).expanduser(), vocab_size) if shape.start else None
    tokens = frequent_tokens((text.ids for text in learned), shape.head, vocab_size, kept)
    draft.to(setup.devices.target[0])
    of = DraftTraining(draft, learned, tokens, fitting, seed)
    expected = of.expect(corpus.held_out())

    counted: Accepted = {}

    def accepted(step: int) -> float:
        nonlocal counted
        counted = of.accepted(expected)
        found = rates(counted)
        if not console(stderr=True).is_terminal:
            # Where no bar is seen. Whoever reads a log wants to know how far it is.
            each = ", ".join(f"{rate:.1%} of {kind}" for kind, rate in found.items())
            print_note(f"{step} of {fitting.steps} steps, accepted {each}")
        return sum(found.values()) / len(found)

    fitted = fit(
        draft,
        of.loss,
        schedule(fitting),
        folder / WORK / CHECKPOINT,
        "the draft model",
        accepted if expected else None,
    )
    draft.to("cpu")
    save_draft(draft, setup.pair.tokenizer, tokens, folder, shape.whole)
    # What was trained before is as it was saved.
    counted = counted or of.accepted(expected)
    return _results(draft, layers, tokens, learned, counted, fitted, fitting)


def _results(
    draft: Any,
    layers: list[int],
    tokens: torch.Tensor | None,
    learned: list[TargetText],
    accepted: Accepted,
    fitted: Fitted,
    fitting: FitConfig,
) -> dict[str, Any]:
    return {
        "layers": layers,
        # Its embeddings and head, which are the target's, do not learn.
        "own_parameters": sum(one.numel() for one in draft.parameters() if one.requires_grad),
        "head": len(tokens) if tokens is not None else None,
        "learned_texts": len(learned),
        "learned_tokens": sum(len(text.ids) for text in learned),
        "steps": len(fitted.losses),
        "step_tokens": fitting.tokens,
        "loss": fitting.loss.value,
        "first_loss": sum(fitted.losses[:20]) / max(1, len(fitted.losses[:20])),
        "last_loss": sum(fitted.losses[-20:]) / max(1, len(fitted.losses[-20:])),
        "accepted": rates(accepted),
        "held_out": accepted,
        "accepted_by_step": fitted.measured,
    }


def _same_text(folder: Path, learned: list[TargetText]) -> None:
    """Refuse to go on with a training that was begun on other text: it would see little of it."""
    own = {"texts": len(learned), "tokens": sum(len(text.ids) for text in learned)}
    path, checkpoint = folder / LEARNED, folder / WORK / CHECKPOINT
    if checkpoint.exists() and path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before != own:
            raise UserError(
                f"{checkpoint} was trained on {before['tokens']} tokens, and there are"
                f" {own['tokens']} now: delete it to train anew on all of them"
            )
    write_json(path, own)


def _check(seed: int, text: TextConfig, shape: DraftConfig, fitting: FitConfig) -> None:
    """Refuse numbers that no text and no training can have."""
    try:
        check_seed("seed", seed)
    except ValueError as error:
        raise UserError(str(error)) from error
    least = {
        "text.new_tokens": text.new_tokens,
        "text.batch": text.batch,
        "text.overlap": text.overlap,
        "text.tokens": text.tokens,
        "draft.head": shape.head,
        "fit.steps": fitting.steps,
        "fit.tokens": fitting.tokens,
        "fit.every": fitting.every,
    }
    for name, value in least.items():
        if value is not None and value < 1:
            raise UserError(f"{name} must be at least 1, got {value}")
    if text.longest <= text.new_tokens:
        raise UserError(
            f"text.longest={text.longest} must be more than text.new_tokens={text.new_tokens}: a"
            " prompt comes before them"
        )
    if text.temperature <= 0:
        raise UserError(f"text.temperature must be above 0, got {text.temperature}")
    if text.own_prompts < 0 or text.other_tokens < 0:
        raise UserError("text.own_prompts and text.other_tokens must be at least 0")
    if not 0 <= fitting.first_choice <= 1 or not 0 <= fitting.prompt_weight <= 1:
        raise UserError("fit.first_choice and fit.prompt_weight must be between 0 and 1")
    if not (fitting.matrix_lr >= 0 and fitting.other_lr >= 0):
        raise UserError("fit.matrix_lr and fit.other_lr must be at least 0")
    if not 0 <= fitting.warmup < 1:
        raise UserError(f"fit.warmup must be at least 0 and less than 1, got {fitting.warmup}")


def _begun(
    folder: Path,
    target: dict[str, Any],
    text: TextConfig,
    shape: DraftConfig,
    fitting: FitConfig,
    seed: int,
) -> dict[Path, str]:
    """The files that say by which settings a folder was begun.

    Raises :class:`UserError` where it was with others: mixing two gives neither.
    """
    work = folder / WORK
    # How much text there is may change, as what is there already stays as it is; and how it is
    # saved.
    planned = {name: value for name, value in asdict(text).items() if name not in _MORE_TEXT}
    made = {name: value for name, value in asdict(shape).items() if name != "whole"}
    begun: dict[str, tuple[dict[str, Any], str]] = {
        SETTINGS: ({"target": target, "text": planned, "seed": seed}, str(work)),
        FIT: (
            {"draft": made, "fit": asdict(fitting)},
            f"{folder / FIT} and {work / CHECKPOINT} to train anew on the same text",
        ),
    }
    contents = {name: as_saved(settings) for name, (settings, _) in begun.items()}
    found = False
    for name, (_, remedy) in begun.items():
        path = folder / name
        if path.exists() and path.read_text(encoding="utf-8") != contents[name]:
            raise UserError(
                f"{folder} was begun with other settings, which are in {path}; give"
                f" another folder=, or delete {remedy}"
            )
        found |= path.exists()
    if found:
        print_note(f"goes on in {folder} with what was made there")
    return {folder / name: content for name, content in contents.items()}


def _note(path: Path, content: str) -> None:
    """Write a file if it is not there. It is there as a whole or not at all."""
    if not path.exists():
        with replacing(path) as unfinished:
            unfinished.write_text(content, encoding="utf-8")


def _tell(results: Mapping[str, Any], folder: Path) -> None:
    out = console(stderr=False)
    for kind, rate in results["accepted"].items():
        out.print(f"accepted of {kind}, held out: {rate:.1%}")
    out.print(f"written: {folder}; use it with pair.draft.path={folder}", soft_wrap=True)
