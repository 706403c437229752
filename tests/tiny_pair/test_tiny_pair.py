"""The recipe of the tiny pair: its generators, its held-out split, and a small run of it all."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from pearl_eval.errors import UserError
from pearl_eval.training import fitting
from tiny_pair.circuits import plant_induction
from tiny_pair.cli import check_work, recipe_from, run
from tiny_pair.corpus import mixture
from tiny_pair.corpus.document import SPECIAL_TOKENS, held_out
from tiny_pair.corpus.functions import passes, render
from tiny_pair.corpus.languages import LANGUAGES
from tiny_pair.corpus.plans import FAMILIES
from tiny_pair.corpus.word_problems import draw_problem
from tiny_pair.held_out import write_held_out
from tiny_pair.recipe import train_pair
from tiny_pair.saving import load_pair
from tiny_pair.shapes import Shape, build
from tiny_pair.tokenizer import train_tokenizer

pytestmark = pytest.mark.nightly

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tasks" / "data"


def smoke(work: Path, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(ROOT / "docs" / "tiny_pair" / "conf"), version_base="1.3"):
        return compose("smoke", overrides=[f"work={work}", *overrides])


def test_same_seed_gives_the_same_documents() -> None:
    def documents(seed: int) -> list[str]:
        rng = random.Random(seed)
        return [mixture.draw_document(rng, 2).text for _ in range(50)]

    assert documents(3) == documents(3)
    assert documents(3) != documents(4)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_every_function_passes_its_test_and_no_other_body_does(family) -> None:  # type: ignore[no-untyped-def]
    rng = random.Random(family.__name__)
    for _ in range(60):
        problem = render(family(rng), rng)
        assert passes(problem, problem.canonical_solution), problem.prompt
        assert not passes(problem, "    return None\n")


def test_examples_in_docstrings_are_true() -> None:
    rng = random.Random(0)
    for _ in range(100):
        plan = random.Random(rng.random()).choice(FAMILIES)(rng)
        problem = render(plan, rng)
        space: dict[str, object] = {}
        exec(problem.prompt + problem.canonical_solution, space)
        lines = [line.strip() for line in problem.prompt.splitlines()]
        shown = [i for i, line in enumerate(lines) if line.startswith(">>> ")]
        assert shown
        for i in shown:
            assert repr(eval(lines[i][4:], space)) == lines[i + 1]


@pytest.mark.parametrize("language", LANGUAGES)
def test_steps_of_word_problems_are_right(language: str) -> None:
    rng = random.Random(language)
    for _ in range(100):
        problem = draw_problem(rng, language)
        sums = re.findall(r"(\d+ [-+*/] \d+) = (\d+)", problem.steps)
        assert sums and all(eval(work) == int(result) for work, result in sums)
        assert int(sums[-1][1]) == problem.answer


def test_held_out_problems_are_never_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    for name in ("draw_problem", "draw_dialogue", "render"):
        original = getattr(mixture, name)

        def spy(*args, original=original, **kwargs):  # type: ignore[no-untyped-def]
            made = original(*args, **kwargs)
            drawn.append(made.key)
            return made

        monkeypatch.setattr(mixture, name, spy)
    rng = random.Random(5)
    texts = "".join(mixture.draw_document(rng, 3).text for _ in range(3000))
    assert sum(map(held_out, drawn)) > 50, "the generators do draw held-out problems"
    for problem in mixture.held_out_functions(0, 60):
        body = problem.prompt[problem.prompt.index('"""') :]
        assert body not in texts
    questions = [problem.question for problem in mixture.held_out_word_problems(0, 60)]
    assert not [question for question in questions if question in texts]
    openings = [made.prompt(1) for made in mixture.held_out_dialogues(0, 60)]
    assert not [opening for opening in openings if opening in texts]


def test_files_of_held_out_problems_are_what_the_generators_make(tmp_path: Path) -> None:
    for path in write_held_out(tmp_path, 0, 60):
        assert path.read_text(encoding="utf-8") == (DATA / path.name).read_text(encoding="utf-8")
    rows = [json.loads(line) for line in (DATA / "humaneval_mini.jsonl").open(encoding="utf-8")]
    assert set(rows[0]) == {"task_id", "prompt", "entry_point", "canonical_solution", "test"}


def test_tokenizer_gives_back_any_text() -> None:
    tokenizer = train_tokenizer(mixture.tokenizer_text(random.Random(0), 200), 512, 2048)
    assert len(tokenizer) == 512
    for text in ("", " a\r\n\tb  ", "नमस्ते 你好 🦀 ﬁ \u0301", "\x00\x7f", "x=12345;  #!"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    for token in SPECIAL_TOKENS:
        assert len(tokenizer(token)["input_ids"]) == 1
    chat = [{"role": "user", "content": "hi"}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text == "<|user|>hi<|end|><|assistant|>"


@torch.no_grad()
def test_planted_head_looks_one_token_back() -> None:
    tokenizer = train_tokenizer(mixture.tokenizer_text(random.Random(0), 50), 512, 2048)
    model = build(Shape(layers=2, width=96, heads=2, mlp=64), tokenizer, seed=0)
    plant_induction(model)
    model.config._attn_implementation = "eager"
    ids = torch.arange(6, 106)[None]
    weights = model(ids, output_attentions=True).attentions[0][0, 0]
    assert (weights.argmax(-1)[1:] == torch.arange(99)).all()


def test_smoke_recipe_trains_saves_and_measures(tmp_path: Path) -> None:
    folder = run(smoke(tmp_path))
    target, draft, tokenizer = load_pair(folder)
    assert target.config.eos_token_id == tokenizer.eos_token_id
    assert target.generation_config is not None
    assert tokenizer.eos_token_id in target.generation_config.eos_token_id
    assert target.config.vocab_size == draft.config.vocab_size == len(tokenizer)
    assert "humaneval_mini" in (folder / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_it_runs_by_its_folder(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "tiny_pair"), "--cfg", "job", "recipe.seed=7"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "seed: 7" in done.stdout and "held_out: null" in done.stdout


def test_interrupted_run_resumes_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_from(smoke(tmp_path))
    whole = train_pair(recipe, tmp_path / "whole")
    steps = iter(range(100))
    real = fitting._step

    def breaking(*args):  # type: ignore[no-untyped-def]
        if next(steps) in (4, 14):
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(fitting, "_step", breaking)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train_pair(recipe, tmp_path / "broken")
    broken = train_pair(recipe, tmp_path / "broken")
    for one, other in ((whole.target, broken.target), (whole.draft, broken.draft)):
        pairs = zip(one.parameters(), other.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    assert whole.target_losses == broken.target_losses


def test_work_folder_of_another_recipe_is_refused(tmp_path: Path) -> None:
    check_work(recipe_from(smoke(tmp_path)), tmp_path)
    check_work(recipe_from(smoke(tmp_path)), tmp_path)
    with pytest.raises(UserError, match="another recipe"):
        check_work(recipe_from(smoke(tmp_path, "recipe.seed=1")), tmp_path)
