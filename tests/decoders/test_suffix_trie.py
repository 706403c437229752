"""Counted suffixes, what is guessed by them, and what is remembered: worked out on paper."""

from __future__ import annotations

import random

import pytest

from decoders.retrieval.lookup import Lookup, Reach
from decoders.retrieval.memory import Cache, EarlierOutputs, FixedTexts, NoTexts
from decoders.retrieval.suffix_trie import CountedRun, SuffixTrie, most_likely


def trie(*texts: list[int], depth: int = 9) -> SuffixTrie:
    made = SuffixTrie(depth)
    for text in texts:
        made.begin()
        made.read(text)
    return made


def counts(made: SuffixTrie) -> list[int]:
    return [run.count for run in made.matches]


def test_runs_are_counted() -> None:
    made = trie([1, 2, 1, 2, 3])
    found = {
        run: made.count(list(map(int, run)))
        for run in ["1", "2", "3", "12", "21", "23", "31", "121", "123", "2121", "12123"]
    }
    assert found == {
        "1": 2, "2": 2, "3": 1, "12": 2, "21": 1, "23": 1, "31": 0, "121": 1, "123": 1,
        "2121": 0, "12123": 1,
    }  # fmt: skip


def test_a_run_does_not_go_on_from_one_text_to_the_next() -> None:
    made = trie([1, 2], [3, 1, 2, 3])
    assert [made.count(run) for run in ([1, 2], [2, 3], [3], [2], [1, 2, 3])] == [2, 1, 2, 2, 1]


def test_runs_that_overlap_themselves_are_counted_wherever_they_begin() -> None:
    made = trie([7, 7, 7, 7])
    assert [made.count([7] * length) for length in range(1, 6)] == [4, 3, 2, 1, 0]
    assert counts(made) == [4, 3, 2]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ([1, 2, 3], []),
        ([1, 2, 3, 1], [2]),
        ([1, 2, 3, 1, 2], [2, 2]),
        ([1, 2, 3, 9, 2], [2]),
        ([1, 2, 1, 2, 1, 2], [3, 3, 2, 2]),
        ([1, 2, 1, 2, 4], []),
    ],
)
def test_suffixes_are_found_that_were_there_before(text: list[int], found: list[int]) -> None:
    """The counts of the last token, the last two …, as far as they come a second time."""
    assert counts(trie(text)) == found


def test_no_run_is_longer_than_the_depth() -> None:
    text = [1, 2, 3, 4, 1, 2, 3]
    assert [counts(trie(text, depth=depth)) for depth in (1, 2, 3, 4)] == [
        [2], [2, 2], [2, 2, 2], [2, 2, 2],
    ]  # fmt: skip
    # Of what follows the longest runs no more is kept than where the first one was.
    assert [run.children is None for run in trie(text, depth=2).matches] == [False, True]


def test_suffixes_of_another_text_are_found_without_being_learned() -> None:
    made = trie([1, 2, 3, 1, 2], [5, 3])
    found = made.longer([], 3)
    assert [run.count for run in found] == [2]
    found = made.longer(found, 1)
    assert [run.count for run in found] == [2, 1]
    found = made.longer(found, 2)
    assert [run.count for run in found] == [2, 2, 1]
    # Nothing follows the end of a text, in which [3, 1, 2] is there once.
    assert [run.count for run in made.longer(found, 3)] == [2, 1, 1]
    assert made.longer(found, 5)[0].count == 1
    assert made.longer(found, 6) == []
    assert [made.count(run) for run in ([1], [2], [3], [3, 1, 2])] == [2, 2, 2, 1]
    assert len(trie([1, 2, 3], depth=2).longer(trie([1, 2, 3], depth=2).longer([], 1), 2)) == 2


def test_counts_are_those_of_looking_everywhere() -> None:
    chance = random.Random(0)
    for _ in range(60):
        depth, kinds = chance.randint(1, 5), chance.randint(1, 4)
        made, texts = SuffixTrie(depth), []
        for _ in range(3):
            made.begin()
            texts.append([])
            for _ in range(chance.randint(0, 25)):
                texts[-1].append(chance.randrange(kinds))
                made.read(texts[-1][-1:])
                everywhere = [
                    _times(texts, texts[-1][-length:])
                    for length in range(1, min(depth, len(texts[-1])) + 1)
                ]
                assert counts(made) == [one for one in everywhere if one > 1]
        found, other = [], []
        for _ in range(30):
            other.append(chance.randrange(kinds + 1))
            found = made.longer(found, other[-1])
            everywhere = [
                _times(texts, other[-length:]) for length in range(1, min(depth, len(other)) + 1)
            ]
            assert [run.count for run in found] == [one for one in everywhere if one]


def _times(texts: list[list[int]], run: list[int]) -> int:
    return sum(
        text[at : at + len(run)] == run for text in texts for at in range(len(text) - len(run) + 1)
    )


def after(
    text: list[int], most: int, least: float = 0.0, depth: int = 9
) -> tuple[list[int], float]:
    """What is most likely after the last token alone."""
    guess = most_likely(trie(text, depth=depth).matches[0], most, least)
    return guess.tokens, guess.score


def test_the_most_frequent_token_is_followed_and_what_follows_that() -> None:
    """2 is followed by 6 two times of three; 6 after it by 1 each time, and 2 after that."""
    text = [2, 5, 1, 2, 6, 1, 2, 6, 1, 2]
    assert after(text, 1) == ([6], pytest.approx(2 / 3))
    assert after(text, 3) == ([6, 1, 2], pytest.approx(3 * 2 / 3))
    # After 2 6 1 2 came 6, the one time that anything did: that is how the text goes on there.
    assert after(text, 4) == ([6, 1, 2, 6], pytest.approx(4 * 2 / 3))
    # However many.
    assert after([1, 2, 3, 4, 5, 6] * 3 + [1], 5) == ([2, 3, 4, 5, 6], 5.0)


def test_shares_are_multiplied() -> None:
    """2 goes on with 6 in three of four, that with 7 in two of three."""
    text = [2, 6, 7, 2, 6, 8, 2, 6, 7, 2, 5, 2]
    assert after(text, 2) == ([6, 7], pytest.approx(3 / 4 + 3 / 4 * 2 / 3))
    assert after(text, 2, least=0.5) == ([6, 7], pytest.approx(1.25))
    assert after(text, 2, least=0.51) == ([6], pytest.approx(0.75))
    assert after(text, 2, least=0.76) == ([], 0.0)


def test_of_tokens_as_frequent_that_is_followed_which_came_to_be_so_last() -> None:
    assert after([1, 5, 1, 6, 1], 1) == ([6], 0.5)
    assert after([1, 6, 1, 5, 1], 1) == ([5], 0.5)
    assert after([1, 5, 1, 6, 1, 5, 1], 1)[0] == [5]
    assert after([1, 5, 1, 5, 1, 6, 1], 1)[0] == [5]
    # That may be fewer than half of the times.
    assert after([1, 5, 1, 6, 1, 7, 1, 8, 1, 7, 1], 1) == ([7], 0.4)
    assert after([1, 5, 1, 5, 1, 6, 1, 6, 1], 1)[0] == [6]


def test_what_was_there_once_goes_on_as_its_text_did() -> None:
    assert after([3, 4, 5, 6, 3], 2) == ([4, 5], 2.0)
    assert after([3, 4, 5, 6, 3], 9) == ([4, 5, 6, 3], 4.0)
    assert after([3, 4, 5, 6, 3], 0) == ([], 0.0)


def test_beyond_the_depth_the_first_occurrence_goes_on() -> None:
    """4 twice, but with runs of two tokens it is not known what follows 3 4."""
    text = [3, 4, 5, 3, 4, 6, 3, 4, 6, 3]
    assert after(text, 2, depth=3) == ([4, 6], pytest.approx(1 + 2 / 3))
    assert after(text, 2, depth=2) == ([4, 5], 2.0)


def test_nothing_is_guessed_after_the_end_of_a_text() -> None:
    made = trie([1, 2], [1, 2])
    (found, _) = made.longer(made.longer([], 1), 2)
    assert most_likely(found, 5, 0.0).tokens == []


def guess(text: list[int], most: int = 9, **reach: float) -> list[int]:
    return Reach(**{"depth": 9, "least": 0.0, **reach}).guess(trie(text).matches, most).tokens  # type: ignore[arg-type]


def test_a_guess_is_the_longer_the_more_matches() -> None:
    text = [1, 2, 3, 9, 8, 7, 1, 2]
    assert guess(text[:-1]) == [2]
    assert guess(text) == [3, 9]
    assert guess(text, most=1) == [3]
    assert guess(text, most=0) == []
    assert guess(text, factor=1.5) == [3, 9, 8]
    assert guess(text, factor=0.5) == [3]
    assert guess(text[:-1], factor=0.5) == []
    assert guess([4, 1, 2, 3, 4, 1, 2], factor=1 / 3) == [3]
    assert guess(text[:-1], factor=0.999) == []
    # 49 times a 49th is one, although it is less as floating numbers are rounded.
    long = list(range(100, 149))
    matches = trie([*long, 7, *long], depth=60).matches
    assert Reach(depth=60, factor=1 / 49).guess(matches, 9).tokens == [7]


def test_a_longer_match_counts_only_if_its_guess_is_as_good() -> None:
    """1 2 was followed by 3 and by 4 (4 0 7 2: half each, in all 2); 2 by 5 6 7 in three of five,
    then in two of three by 2 (1.8 + 0.4)."""
    text = [1, 2, 3, 0, 1, 2, 4, 0, 7, 2, 5, 6, 7, 2, 5, 6, 7, 2, 5, 6, 7, 1, 2]
    assert guess(text, most=4, factor=4) == [5, 6, 7, 2]
    assert guess(text, most=4, factor=1) == [4, 0]
    assert guess(text, most=4, factor=4, least=0.55) == [5, 6, 7]
    # As good: the longer one.
    assert guess([2, 5, 1, 2, 6, 2, 5, 1, 2], most=1) == [6]
    # Two of four times 5 followed 2, and one of two times 7 followed 1 2.
    assert guess([2, 5, 0, 2, 5, 0, 1, 2, 6, 0, 1, 2, 7, 0, 1, 2], most=1) == [7]


def test_a_longer_guess_need_not_be_better() -> None:
    """2 was followed by 5 in five of seven; 1 2 by 3, by 4 and by 5, so that 5 6 after it is right
    in a third: two thirds of a token."""
    text = [1, 2, 3, 0, 1, 2, 4, 0, 1, 2, 5, 6, 2, 5, 6, 2, 5, 7, 2, 5, 8, 2, 5, 9, 1, 2]
    assert guess(text) == [5]


def test_how_far_a_guess_goes_where_nothing_is_said() -> None:
    assert Reach() == Reach(depth=24, factor=1.0, least=0.1)


def test_settings_that_cannot_be_are_refused() -> None:
    Reach(depth=2, factor=0.01, least=0.0).check()
    Reach(least=1.0).check()
    for wrong, said in (
        ({"depth": 1}, "decoder.depth .* at least 2, got 1"),
        ({"factor": 0.0}, "decoder.factor .* above 0, got 0"),
        ({"least": -0.1}, "decoder.least .* from 0 to 1, got -0.1"),
        ({"least": 1.1}, "decoder.least .* from 0 to 1, got 1.1"),
    ):
        with pytest.raises(ValueError, match=said):
            Reach(**wrong).check()  # type: ignore[arg-type]


def lookup(text: list[int], *others: list[int]) -> Lookup:
    made = Lookup(Reach(depth=9), trie(*others))
    made.read(text)
    return made


def test_the_text_itself_has_it_unless_the_others_guess_is_better() -> None:
    assert lookup([1, 2, 3, 6, 1, 2], [1, 2, 7, 8]).guess(9) == [3, 6]
    assert lookup([1, 2, 3, 1, 2], [1, 2, 7, 8]).guess(9) == [3, 1]
    assert lookup([1, 2], [1, 2, 7, 8]).guess(9) == [7, 8]
    assert lookup([1, 2, 3, 6, 5, 1, 2], [5, 1, 2, 7, 8, 9]).guess(9) == [7, 8, 9]
    # Three tokens, each right in a third, are no better than two that are.
    thirds = [[5, 1, 2, 7, 8, 9], [5, 1, 2, 6, 6, 6], [5, 1, 2, 4, 4, 4]]
    assert lookup([1, 2, 3, 6, 5, 1, 2], *thirds).guess(9) == [3, 6]
    assert lookup([1, 2, 3]).guess(9) == []
    assert Lookup(Reach()).guess(9) == []


@pytest.mark.parametrize(("depth", "found"), [(2, [4, 5]), (3, [4, 6])])
def test_a_lookup_counts_runs_as_far_as_it_is_to_reach(depth: int, found: list[int]) -> None:
    """3 4 was followed by 5 first, and by 6 twice; before the last 3 is what never was there."""
    made = Lookup(Reach(depth=depth, factor=2.0))
    made.read([3, 4, 5, 3, 4, 6, 3, 4, 6, 9, 3])
    assert made.guess(9) == found


def test_what_comes_after_the_text_is_looked_up_and_not_learned() -> None:
    made = lookup([1, 2, 3, 4, 1], [4, 1, 2, 7, 7, 7])
    assert made.guess(9, after=[2]) == [7, 7, 7]
    assert made.guess(2, after=[2]) == [3, 4]
    assert made.guess(9, after=[9]) == []
    assert made.guess(9) == [2, 7]
    made.read([5])
    assert made.guess(9, after=[1, 2]) == [3, 4]


def test_asking_leaves_open_how_a_text_goes_on() -> None:
    """6 was there once, at the end: what follows it is not known yet, and is counted then."""
    made = lookup([5, 6])
    assert made.guess(9, after=[6, 5]) == [6]
    made.read([7, 6])
    assert made.guess(9) == [7]


def held(made: SuffixTrie | None) -> list[int]:
    """How often 1, 2 and 3 are in what is known for a prompt."""
    return [0 if made is None else made.count([token]) for token in (1, 2, 3)]


def test_nothing_is_remembered_where_every_prompt_is_the_first() -> None:
    memory = NoTexts()
    memory.add([9], [1])
    assert held(memory.texts([8])) == [0, 0, 0]


def test_outputs_are_remembered_in_the_order_of_the_prompts_first_times() -> None:
    memory = EarlierOutputs(depth=4)
    assert held(memory.texts([7])) == [0, 0, 0]
    memory.add([7], [1])
    assert held(memory.texts([8])) == [1, 0, 0]
    memory.add([8], [2, 2])
    assert held(memory.texts([9])) == [1, 2, 0]
    memory.add([9], [3])
    # What comes again finds neither itself nor what came after it.
    assert held(memory.texts([8])) == [1, 0, 0]
    assert held(memory.texts([7])) == [0, 0, 0]
    assert held(memory.texts([9])) == [1, 2, 0]
    memory.add([7], [3, 3, 3])
    assert held(memory.texts([6])) == [1, 2, 1]
    assert memory.texts([6]).count([7]) == 0
    assert held(memory.texts([8])) == [1, 0, 0]


def test_outputs_are_texts_of_their_own() -> None:
    memory = EarlierOutputs(depth=4)
    memory.add([7], [1, 2])
    memory.add([8], [3])
    texts = memory.texts([9])
    assert (texts.count([1, 2]), texts.count([2, 3])) == (1, 0)


def test_outputs_are_read_in_their_order() -> None:
    """1 was followed by 2 and by 3: last by 3."""
    memory = EarlierOutputs(depth=4)
    memory.add([7], [1, 2])
    memory.add([8], [1, 3])
    (one,) = memory.texts([9]).longer([], 1)
    assert most_likely(one, 1, 0.0).tokens == [3]


def test_what_is_remembered_is_read_once_and_again_only_where_less_is_wanted() -> None:
    memory = EarlierOutputs(depth=4)
    first = memory.texts([7])
    memory.add([7], [1])
    memory.add([8], [2])
    assert memory.texts([9]) is memory.texts([9]) is first
    other = memory.texts([8])
    assert other is not first and memory.texts([9]) is other
    assert held(other) == [1, 1, 0]


def test_memories_know_runs_as_long_as_they_are_asked_for() -> None:
    memory = EarlierOutputs(depth=2)
    memory.add([7], [1, 2, 3, 4])
    memory.add([8], [1, 2, 3, 4])
    # As it was made, and made anew.
    texts = [FixedTexts([[1, 2, 3, 4]] * 2, depth=2).texts([7]), memory.texts([9])]
    texts.append(memory.texts([8]))
    for made in texts:
        found = list[CountedRun]()
        for token in (1, 2, 3):
            found = made.longer(found, token)
        assert len(found) == 2


def test_fixed_texts_stay() -> None:
    memory = FixedTexts([[1, 2], [2]], depth=4)
    memory.add([7], [3])
    assert held(memory.texts([8])) == [1, 2, 0]
    assert memory.texts([8]).count([2, 2]) == 0


def test_every_state_of_a_cache_is_told() -> None:
    assert [one.value for one in Cache] == ["cold", "warm", "corpus", "oracle"]
    assert "upper bound" in Cache.oracle.told and "in the order" in Cache.warm.told
    assert Cache.cold.told.startswith("nothing") and Cache.corpus.told.startswith("a text that was")
