"""A draft model of another vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from decoder_cases import make_decoder
from library_chance import check_distribution
from small_pair import SmallPair, make_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.generation.candidate_generator import AssistantToTargetTranslator

from decoders.assisted_universal import AssistedUniversal
from decoders.autoregressive import Autoregressive
from decoders.decoder import Decoder
from decoders.model.cached_model import CachedModel
from decoders.process.models import Models
from decoders.process.worker import WorkerOptions
from decoders.sampling.sampler import Greedy, Sampler
from decoders.sampling.temperature import Temperature, Warping
from decoders.session import Session
from pearl_eval.errors import UserError
from pearl_eval.machine.devices import Devices
from pearl_eval.pairs.model_config import ModelConfig
from pearl_eval.pairs.pretrained import Pretrained

CPU = Devices(("cpu",), ("cpu",))


def letters(order: str, unknown: str = "?") -> PreTrainedTokenizerFast:
    """A tokenizer of some letters that lists its vocabulary backwards."""
    vocabulary = {letter: index for index, letter in enumerate(order)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.decoder = decoders.Fuse()
    tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=made, unk_token=unknown)
    tokenizer.get_vocab = lambda: dict(reversed(vocabulary.items()))
    return tokenizer


def start(
    decoder: Decoder,
    target: CachedModel,
    draft: CachedModel,
    tokenizers: tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase],
    sampler: Sampler | None = None,
) -> Session:
    found = Models(target, lambda: draft, WorkerOptions(), tokenizers=tokenizers)
    return decoder.start(found, sampler or Greedy())


@pytest.mark.parametrize(
    ("theirs", "most"),
    [
        # Four are shared, by other numbers; two are the draft model's own.
        ("xcb?ay", 2),
        # All of the draft model's are shared, but not all of the target's.
        ("ca?", 2),
        # As many as the target has, and others.
        ("bc?ax", 2),
    ],
)
def test_the_distribution_is_the_targets(theirs: str, most: int) -> None:
    ours = "?abcd"
    target = CachedModel(make_model(len(ours), layers=1, seed=1))
    draft = CachedModel(make_model(len(theirs), layers=1, seed=5))
    sampler = Temperature(0.8, top_k=3)
    tokenizers = letters(ours), letters(theirs)
    session = start(AssistedUniversal(gamma=2), target, draft, tokenizers, sampler)
    rounds = check_distribution(session, [1, 3, 1], 3, Warping(0.8, 3, 1.0))
    assert {0, most} <= {r.accepted for r in rounds if r.drafted == 2}


def test_tokens_that_a_model_has_not_are_not_drafted() -> None:
    """Tokenizers may have more than their models: of what both have the target has no d, though
    room for it, and the draft model no b."""
    target = CachedModel(make_model(6, layers=1, seed=1), vocab_size=4)
    draft = CachedModel(make_model(6, layers=1, seed=5))
    tokenizers = letters("?acbd"), letters("xc?adyb")
    session = start(AssistedUniversal(gamma=2), target, draft, tokenizers, Temperature(2.0))
    rounds = session.decode([1, 3, 1], 60, []).rounds
    drafted = {token for one in rounds for token in one.drafted_ids}
    assert drafted == {0, 1, 2}
    assert target.model.config.vocab_size == 6, "as it came"


def test_the_draft_model_is_warped_as_the_target() -> None:
    """Where both are one, so are their warped distributions: all is accepted."""
    target, draft = (CachedModel(make_model(30, layers=1, seed=1)) for _ in range(2))
    tokenizers = (letters("?abcdefghijklmnopqrstuvwxyzABC"),) * 2
    sampler = Temperature(0.5, top_k=8, top_p=0.9)
    session = start(AssistedUniversal(gamma=4), target, draft, tokenizers, sampler)
    rounds = session.decode([1, 3, 1], 40, [], seed=1).rounds
    assert sum(one.judged for one in rounds) > 20
    assert all(one.accepted == one.judged for one in rounds)


def test_of_the_tokens_that_are_shared_the_likeliest_are_kept() -> None:
    """And not those that are shared of the likeliest, which may be none."""
    target = CachedModel(make_model(5, layers=1, seed=1))
    draft = CachedModel(make_model(6, layers=1, seed=5))
    tokenizers = letters("?abcd"), letters("xcb?ay")
    expected = start(Autoregressive(), target, draft, tokenizers).decode([1, 3, 1], 20, [])
    session = start(AssistedUniversal(), target, draft, tokenizers, Temperature(top_k=1))
    generation = session.decode([1, 3, 1], 20, [])
    assert generation.output_ids == expected.output_ids
    assert sum(one.drafted for one in generation.rounds) > 20


def test_a_rule_that_transformers_has_not_is_refused() -> None:
    model = CachedModel(make_model(5, layers=1, seed=1))
    tokenizers = letters("?abcd"), letters("xcb?a")
    with pytest.raises(ValueError, match=r"sampling\.coupled: transformers' generate draws"):
        start(AssistedUniversal(), model, model, tokenizers, Temperature(coupled=True))


def test_what_settings_are_where_nothing_is_said() -> None:
    assert AssistedUniversal() == AssistedUniversal("constant", 5)
    assert AssistedUniversal() == make_decoder("assisted_universal", 5)


def test_transformers_alone_judges_tokens_by_others_chances() -> None:
    """If this fails, it has been repaired there, and the repair here can go."""
    draft = make_model(6, layers=1, seed=5)
    tokenizers = letters("?abcd"), letters("xcb?ay")
    made = AssistantToTargetTranslator(*tokenizers, 5, draft, assistant_prune_lm_head=True)
    # Of the draft model's tokens c, b, ? and a, in whatever order its head has them.
    chances = torch.log(made.assistant_overlap_token_ids.float())[None, None]
    translated = made.get_target_logits(chances).exp()[0, 0]
    assert translated.tolist() != pytest.approx([3.0, 4.0, 2.0, 1.0, 0.0])
    assert sorted(translated.tolist()) == pytest.approx([0.0, 1.0, 2.0, 3.0, 4.0])


def save_draft(folder: Path, vocab_size: int = 280) -> Path:
    """A draft model with a byte-level tokenizer that is not the small pair's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|end|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the quick brown fox " * 9], trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")
    made.save_pretrained(folder)
    make_model(len(made), layers=1, seed=3).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def draft(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_draft(tmp_path_factory.mktemp("draft"))


def opened(small_pair: SmallPair, draft: Path) -> Pretrained:
    target = ModelConfig(str(small_pair.folder / "target"))
    return Pretrained(target=target, draft=ModelConfig(str(draft)))


def prompts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(3)
    lengths = [1, 2, 5, 13, 40]
    return [torch.randint(300, (size,), generator=generator).tolist() for size in lengths]


@pytest.mark.parametrize("prompt", prompts(), ids=len)
@pytest.mark.parametrize("gamma", [1, 4])
def test_output_is_the_references(
    small_pair: SmallPair, draft: Path, prompt: Sequence[int], gamma: int
) -> None:
    pair = opened(small_pair, draft).open_apart(CPU)
    assert pair.draft_tokenizer is not None
    target, tokenizers = pair.load_target(), (pair.tokenizer, pair.draft_tokenizer)
    assert pair.load_draft().vocab_size == len(pair.draft_tokenizer)
    own = target.model.config.vocab_size
    drafted = 0
    for limit in (1, 2, 30):
        reference = start(Autoregressive(), target, target, tokenizers)
        free = reference.decode(prompt, limit, []).output_ids
        session = start(AssistedUniversal(gamma=gamma), target, pair.load_draft(), tokenizers)
        for stop_ids in ([], [free[len(free) // 2]]):
            expected = reference.decode(prompt, limit, stop_ids)
            generation = session.decode(prompt, limit, stop_ids)
            assert generation.output_ids == expected.output_ids
            assert generation.finish_reason == expected.finish_reason
            drafted += sum(r.drafted for r in generation.rounds)
    assert drafted and target.model.config.vocab_size == own


@pytest.mark.parametrize("sampler", [Greedy(), Temperature(0.5)], ids=repr)
def test_nothing_is_drafted_that_the_text_has_no_room_for(sampler: Sampler) -> None:
    """The target adds the last token itself."""
    target, draft = (CachedModel(make_model(5, layers=1, seed=1)) for _ in range(2))
    tokenizers = letters("?abcd"), letters("?abcd")
    session = start(AssistedUniversal(gamma=4), target, draft, tokenizers, sampler)
    reached = False
    for limit in range(1, 12):
        verified = 0
        for one in session.decode([1, 3, 1], limit, []).rounds:
            assert one.drafted <= limit - verified - 1
            reached |= one.drafted == limit - verified - 1 > 0
            verified = one.verified_length
    assert reached


@pytest.mark.parametrize("prompt", prompts(), ids=len)
def test_samples_of_any_prompt(small_pair: SmallPair, draft: Path, prompt: Sequence[int]) -> None:
    pair = opened(small_pair, draft).open_apart(CPU)
    assert pair.draft_tokenizer is not None
    target, tokenizers = pair.load_target(), (pair.tokenizer, pair.draft_tokenizer)
    sampler = Temperature(0.8, top_p=0.9)
    session = start(AssistedUniversal(), target, pair.load_draft(), tokenizers, sampler)
    one, other, again = (session.decode(prompt, 25, [], seed) for seed in (1, 2, 1))
    assert one.output_ids == again.output_ids != other.output_ids
    assert len(one.output_ids) == 25 and any(r.drafted for r in one.rounds)


def test_pairs_that_share_a_vocabulary_are_refused(small_pair: SmallPair, draft: Path) -> None:
    with pytest.raises(UserError, match="draft and target have one vocabulary, and the decoder"):
        opened(small_pair, small_pair.folder / "draft").open_apart(CPU)
    with pytest.raises(UserError, match="draft and target have different vocabularies"):
        opened(small_pair, draft).open(CPU, uses_draft=True)


def test_pairs_without_a_common_token_are_refused(small_pair: SmallPair, tmp_path: Path) -> None:
    letters("漢字仮名", unknown="漢").save_pretrained(tmp_path)
    make_model(4, layers=1, seed=1).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="no token in common, so nothing can be drafted"):
        opened(small_pair, tmp_path).open_apart(CPU)


def test_a_run(run_cli: Any, draft: Path) -> None:
    arguments = [f"pair.draft.path={draft}", "task.limit=2", "task.max_new_tokens=12"]
    code, out, err = run_cli("decoder=assisted_universal", *arguments)
    assert (code, "identical 2/2" in out) == (0, True), err
    code, _, err = run_cli("decoder=speculative", *arguments)
    assert (code, "draft and target have different vocabularies" in err) == (2, True)


def test_a_sampled_run(run_cli: Any, draft: Path) -> None:
    arguments = [f"pair.draft.path={draft}", "task.limit=2", "task.max_new_tokens=12"]
    code, out, err = run_cli("decoder=assisted_universal", "sampling=temperature", *arguments)
    assert (code, "sampled, p =" in out) == (0, True), err


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("tiny", "draft and target have one vocabulary, and the decoder is for"),
        ("controlled", "this pair's models share a vocabulary, and the decoder is for"),
    ],
)
def test_runs_on_other_pairs_are_refused(run_cli: Any, pair: str, said: str) -> None:
    code, _, err = run_cli("decoder=assisted_universal", f"pair={pair}", small_pair=False)
    assert (code, said in err) == (2, True), err
