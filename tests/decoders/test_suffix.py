"""Suffix decoding: its rounds worked out on paper, and what its cache may know."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from by_hand import Decode, by_hand
from cold import PROMPTS, RememberedRounds, check_cold, decoded, started
from decoder_cases import make_decoder
from exact import in_one_process, start
from planting import Bug, planted
from test_round_fields import NOTHING, REPEATING, became, row, told, totals

from decoders.generation import Generation
from decoders.process.models import Models
from decoders.retrieval.lookup import Reach
from decoders.retrieval.memory import Cache
from decoders.sampling.sampler import Greedy, Sampler
from decoders.sampling.temperature import Temperature
from decoders.session import Session
from decoders.suffix import Suffix

__all__ = ["by_hand"]

Run = Callable[..., tuple[int, str, str]]


def test_suffix_by_hand(by_hand: Decode) -> None:
    """γ = 3. The fifth token was there before, so a token is guessed after it; then three match,
    then seven. For the last token nothing is guessed: the target adds it."""
    generation = by_hand(Suffix(3), REPEATING, [])
    assert [one.mode for one in generation.rounds] == ["decode"] * 5 + ["verify"] * 3 + ["decode"]
    assert told(generation.rounds[4:]) == [
        row("decode", (45, 0, 45), (0, 11), (0, 0), NOTHING, (0, 0, 5), 1),
        row("verify", (56, 0, 56), (0, 12), (0, 0), ([11], [5]), (1, 1, 7), 2),
        row("verify", (68, 0, 68), (0, 14), (0, 0), ([13, 10, 11], [7, 8, 9]), (3, 3, 11), 4),
        row("verify", (82, 0, 82), (0, 13), (0, 0), ([13, 10], [11, 12]), (2, 1, 13), 3),
        row("decode", (95, 0, 95), (0, 11), (0, 0), NOTHING, (0, 0, 14), 1),
    ]
    assert generation.output_ids == REPEATING
    assert totals(generation) == (106, 12, 9, 0, [1, 3, 1])
    assert became(generation)[5:] == [
        ("a", 1, 12), ("aaa", 1, 14), ("ar", 1, 13), ("", 1, 11),
    ]  # fmt: skip


def test_guesses_that_are_half_as_long_as_what_matched(by_hand: Decode) -> None:
    """After 10 11 a token, after 10 11 12 13 two, and after seven tokens two of three: the target
    adds the last."""
    generation = by_hand(Suffix(3, factor=0.5), REPEATING, [])
    drafted = [one.drafted_ids for one in generation.rounds]
    assert drafted == [[]] * 6 + [[12], [10, 11], [13, 10], []]
    assert generation.output_ids == REPEATING


def test_what_settings_are_where_nothing_is_said() -> None:
    assert Suffix() == Suffix(16, 24, 1.0, 0.1, Cache.cold, None) == make_decoder("suffix", 16)
    assert make_decoder("suffix_warm", 16) == Suffix(cache=Cache.warm)
    assert Suffix(4, 5, 2.0, 0.3).reach == Reach(depth=5, factor=2.0, least=0.3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gamma": 0}, r"decoder\.gamma is the draft length and must be at least 1, got 0"),
        ({"depth": 1}, r"decoder\.depth .* at least 2, got 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Suffix(**settings)


def test_what_follows_a_stop_token_is_not_guessed(by_hand: Decode) -> None:
    """13 ends the text, so of 13, 10, 11 it alone is."""
    generation = by_hand(Suffix(3), [*REPEATING[:3], 9, *REPEATING[:3], 9, 13], [], stop_ids=[9])
    assert generation.output_ids == [10, 11, 12, 9]
    text = [10, 11, 12, 13, 10, 11, 12, 14, 14]
    generation = by_hand(Suffix(3), text, [], stop_ids=[13], prompt=[10, 11, 12, 13, 10, 11, 12])
    assert generation.rounds[0].drafted_ids == [13]


def test_the_prompt_is_looked_up_in(by_hand: Decode) -> None:
    generation = by_hand(Suffix(3), [10, 11, 12, 13], [], prompt=[5, 6, 10, 11, 12, 13, 5, 6])
    assert told(generation.rounds)[0] == row(
        "verify", (0, 0, 0), (0, 20), (0, 0), ([10, 11], [0, 1]), (2, 2, 3), 10
    )


#: Those that run in one process on the toy pair; two whole processes have a test of their own.
COLD = ["autoregressive", "draft_only", "pearl", "pearl_async", "pearl_retrieval", "speculative",
        "ssd", "suffix"]  # fmt: skip


@pytest.mark.parametrize("name", COLD)
def test_a_cold_decoder_knows_nothing_of_other_prompts(name: str) -> None:
    check_cold(name)


def test_a_warm_one_does() -> None:
    with pytest.raises(RememberedRounds):
        check_cold("suffix", cache=Cache.warm)


def test_a_prompt_that_comes_again_finds_what_it_found_the_first_time() -> None:
    with started("suffix", cache=Cache.warm) as session:
        first = [decoded(session, index) for index in range(3)]
        for index in (1, 0, 2, 2):
            assert decoded(session, index) == first[index]
    with started("suffix", cache=Cache.warm) as session:
        # In another order it is another run.
        assert decoded(session, 2) != first[2]


def test_what_an_earlier_attempt_decoded_is_known_to_the_next() -> None:
    with started("suffix", cache=Cache.warm) as session:
        first = [decoded(session, index) for index in range(3)]
    with started("suffix", cache=Cache.warm) as session, started("autoregressive") as other:
        for index in range(2):
            session.remember(*told_of(other, index))
        # The warm-up prompt is decoded once more, and changes nothing.
        assert decoded(session, 0) == first[0]
        assert decoded(session, 2) == first[2]


def told_of(session: Session, index: int) -> tuple[list[int], list[int]]:
    return PROMPTS[index], session.decode(PROMPTS[index], 30, []).output_ids


def test_sessions_of_two_draft_lengths_do_not_know_of_each_other() -> None:
    with started("suffix", cache=Cache.warm) as session:
        alone = decoded(session, 2)
    with started("suffix", cache=Cache.warm) as session:
        other = session.with_gamma(3)
        decoded(session, 0)
        decoded(session, 1)
        assert decoded(other, 2) == alone != decoded(session, 2)


def test_another_draft_length_leaves_a_cold_cache_cold() -> None:
    with started("suffix") as session:
        alone = decoded(session.with_gamma(1), 2)
        assert max(len(drafted) for _, drafted, _, _ in alone) == 1
    with started("suffix") as session:
        other = session.with_gamma(1)
        decoded(other, 0)
        decoded(other, 1)
        assert decoded(other, 2) == alone != decoded(session, 2)


def test_runs_of_other_texts_are_counted_up_to_the_same_depth() -> None:
    with started("suffix", cache=Cache.warm, depth=5) as session:
        decoded(session, 0)
        other = session.with_gamma(2)
        decoded(other, 0)
        for one in (session, other):
            memory: Any = vars(one)["_memory"]
            assert memory.texts(PROMPTS[1])._depth == 5
    with started("suffix", cache=Cache.oracle, depth=5) as session:
        decoded(session, 0)
        assert vars(session)["_memory"].texts(PROMPTS[1])._depth == 5


def test_an_oracle_by_hand(by_hand: Decode) -> None:
    """Nothing comes twice in the text. Its first token is not known by what came before it; after
    one token one is drafted, and then γ = 3. The last the target adds."""
    generation = by_hand(Suffix(3, cache=Cache.oracle), list(range(10, 24)), [])
    drafted = [one.drafted_ids for one in generation.rounds]
    assert drafted == [[], [11], [13, 14, 15], [17, 18, 19], [21, 22]]
    assert [one.accepted for one in generation.rounds] == [0, 1, 3, 3, 2]


@pytest.mark.parametrize("sampler", [Greedy(), Temperature(coupled=True)], ids=repr)
@pytest.mark.parametrize("stop_ids", [[], [2]], ids=str)
def test_an_oracle_has_read_what_comes_and_no_more(sampler: Sampler, stop_ids: list[int]) -> None:
    with in_one_process():
        session: Any = start(Suffix(cache=Cache.oracle), sampler)
        for seed in (0, 5):
            output = session.decode([4, 0], 30, stop_ids, seed).output_ids
            assert session._memory.texts([])._text == output


def test_an_oracle_drafts_the_text_itself() -> None:
    """Its first token is not known by what came before it."""
    with started("suffix", cache=Cache.oracle) as session:
        generation = session.decode([4, 0], 30, [])
    with started("autoregressive") as session:
        assert session.decode([4, 0], 30, []).output_ids == generation.output_ids
    later = generation.rounds[len(generation.rounds) // 2 :]
    assert later and all(one.accepted == one.judged for one in later)


def test_only_one_text_can_be_foreseen() -> None:
    oracle = Suffix(cache=Cache.oracle)
    for sampler in (Greedy(), Temperature(coupled=True)):
        oracle.check(sampler)
    with pytest.raises(ValueError, match=r"decoder\.cache=oracle decodes each text beforehand"):
        oracle.check(Temperature())
    Suffix(cache=Cache.warm).check(Temperature())


def test_a_corpus_is_read_before_the_first_prompt(by_hand: Decode, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a b c")
    decoder = Suffix(3, depth=7, cache=Cache.corpus, corpus=str(tmp_path / "text"))
    with pytest.raises(ValueError, match="the pair has no tokenizer"):
        by_hand(decoder, REPEATING, [])
    said = {"a b c": [7, 2, 10, 11, 40]}
    models = Models.__init__

    def with_text(self: Models, *arguments: Any) -> None:
        models(self, *arguments, encode=said.__getitem__)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Models, "__init__", with_text)
        generation: Generation = by_hand(decoder, REPEATING, [])
    session: Any = by_hand.session
    assert session.with_gamma(2)._memory is session._memory
    assert session._memory.texts([])._depth == decoder.depth
    # 2 ends the prompt; one token is guessed after it, and two after 2 10 11: one is there.
    assert [one.drafted_ids for one in generation.rounds][:2] == [[10], [40]]
    assert [one.accepted for one in generation.rounds][:2] == [1, 0]


@pytest.mark.parametrize(
    ("cache", "corpus"), [(Cache.corpus, None), (Cache.cold, "f"), (Cache.warm, "f")]
)
def test_a_corpus_is_named_where_it_is_the_cache(cache: Cache, corpus: str | None) -> None:
    with pytest.raises(ValueError, match=r"cache=corpus and decoder\.corpus=FILE go together"):
        Suffix(cache=cache, corpus=corpus)


def test_files_say_what_was_known() -> None:
    """As a text, and in words; and are read as they were written."""
    decoder = Suffix(cache=Cache.warm)
    with started("suffix", cache=Cache.warm) as session:
        settings = json.loads(json.dumps(session.settings()))
    assert settings["cache"] == "warm" and type(session.settings()["cache"]) is str
    assert decoder.describe()["cache"] == Cache.warm.told
    again = Suffix().with_settings(settings)
    assert isinstance(again, Suffix) and again.cache is Cache.warm
    assert (Suffix().knows, Suffix(cache=Cache.corpus, corpus="f").knows) == (None, "f")


MEMORY = "self._memory: OtherTexts = NoTexts()"
REMEMBERED = "self.remember(tokens, generation.output_ids)"
#: Caches that know too much, as docs/checks.md has them, each with the test that sees it.
BUGS = [
    (
        "a cold cache keeps the outputs of earlier prompts",
        Bug("", "", "", "decoders.suffix", MEMORY,
            "self._memory: OtherTexts = EarlierOutputs(self.decoder.depth)"),
        test_a_cold_decoder_knows_nothing_of_other_prompts,
    ),
    (
        "a cold cache is kept after a run over the prompts, and used in the next",
        Bug("", "", "", "decoders.suffix", REMEMBERED,
            "self._kept = [*vars(self).get('_kept', []), generation.output_ids];"
            " self._memory = FixedTexts(self._kept, self.decoder.depth)"),
        test_a_cold_decoder_knows_nothing_of_other_prompts,
    ),
    (
        "a cold cache has the reference's output",
        Bug("", "", "", "decoders.suffix",
            "if self.decoder.cache is Cache.oracle:\n            fore",
            "if True:\n            fore"),
        test_suffix_by_hand,
    ),
    (
        "a warm cache has what a prompt that comes again gave before",
        Bug("", "", "", "decoders.retrieval.memory",
            "earlier.index(known) if known in self._outputs else len(earlier)", "len(earlier)"),
        test_a_prompt_that_comes_again_finds_what_it_found_the_first_time,
    ),
    (
        "draft lengths of a benchmark share a warm cache",
        Bug("", "", "", "decoders.suffix",
            "other._memory = EarlierOutputs(self.decoder.depth)", "other._memory = self._memory"),
        test_sessions_of_two_draft_lengths_do_not_know_of_each_other,
    ),
]  # fmt: skip


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug[0])
def test_a_cache_that_knows_too_much_is_seen(bug: tuple[str, Bug, Any], by_hand: Decode) -> None:
    _, change, check = bug
    arguments = {"name": "suffix", "by_hand": by_hand}
    names = check.__code__.co_varnames[: check.__code__.co_argcount]
    with planted(change), pytest.raises(AssertionError):
        check(**{name: arguments[name] for name in names})


def test_the_page_has_these_bugs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "checks.md").read_text()
    for name, _, check in BUGS:
        assert f"| {name} | `{check.__name__}` |" in page
