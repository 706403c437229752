"""What runs are called, by what tells them apart."""

from __future__ import annotations

from pathlib import Path

from pearl_eval.results.labels import knows_more, labels, of_overrides, of_run, placed


def test_a_name_says_what_tells_a_run_from_others_of_its_decoder() -> None:
    runs = [
        of_run("pearl", {"gamma": 3, "pre_verify": True}, 0),
        of_run("pearl", {"gamma": 5, "pre_verify": True}, 0),
        of_run("pearl", {"gamma": 5, "pre_verify": False}, 0),
        of_run("lookahead", {"window": 5.0}, 0),
        of_run("lookahead", {"window": 5.5}, 1),
        of_run("autoregressive", None, 7),
    ]
    assert labels(runs) == [
        "pearl γ3 pre_verify=True",
        "pearl γ5 pre_verify=True",
        "pearl γ5 pre_verify=False",
        "lookahead window=5",
        "lookahead window=5.5",
        "autoregressive",
    ]


def test_runs_of_other_groups_need_not_be_told_apart() -> None:
    """But what does so in one group is said of all of the decoder."""
    runs = [of_run("pearl", {"gamma": gamma}, 0) for gamma in (3, 5, 7)]
    assert labels(runs, ["a", "b", "c"]) == ["pearl"] * 3
    assert labels(runs, ["a", "a", "b"]) == ["pearl γ3", "pearl γ5", "pearl γ7"]


def test_a_run_that_has_not_begun_is_named_by_its_overrides() -> None:
    asked = [
        ["decoder=pearl", "decoder.gamma=3", "task=gsm8k", "+experiment=x"],
        ["decoder=pearl", "decoder.gamma=3", "task=humaneval", "+experiment=x"],
        ["decoder=speculative", "task=gsm8k", "+experiment=x"],
        ["task=gsm8k", "+experiment=x", "decoder.window=9"],
    ]
    assert labels([of_overrides(own, "lookahead") for own in asked]) == [
        "pearl task=gsm8k",
        "pearl task=humaneval",
        "speculative",
        "lookahead",
    ]


def test_a_cache_that_is_not_cold_is_always_said() -> None:
    def run(cache: str | None, decoder: str = "suffix") -> dict[str, object]:
        return of_run(decoder, {"gamma": 3, "cache": cache}, 0)

    assert labels([run("warm")]) == ["suffix cache=warm"]
    assert labels([run("cold")]) == ["suffix"]
    assert labels([run(None, "pearl")]) == ["pearl"]
    assert labels([run("cold"), run("oracle")]) == ["suffix cache=cold", "suffix cache=oracle"]
    assert labels([run("warm")] * 2 + [run("cold", "other")], [1, 2, 1]) == [
        "suffix cache=warm", "suffix cache=warm", "other",
    ]  # fmt: skip
    found = labels([of_overrides(["decoder=a"], "b", {"gamma": 3, "cache": "warm"})])
    assert found == ["a cache=warm"]
    assert labels([of_overrides(["decoder=a"], "b", {"cache": "cold", "depth": 3})]) == ["a"]
    assert [knows_more(one) for one in ({}, {"cache": "cold"}, {"cache": "oracle"})] == [
        False, False, True,
    ]  # fmt: skip


def test_long_values_are_cut_beyond_40_signs() -> None:
    runs = [of_run("a", {"data": sign * size}, 0) for sign, size in (("x", 40), ("x", 41))]
    assert labels(runs) == [f"a data={'x' * 40}", f"a data={'x' * 37}..."]


def test_tasks_and_pairs_tell_apart_what_settings_do_not() -> None:
    """Each name by what differs among its own: the two of ``a`` are of one pair."""
    names = ["a", "a", "b", "b", "c", "d", "d"]
    facts = [("x", "p"), ("y", "p"), ("x", "p"), ("x", "q"), ("z", "r"), ("x", "p"), ("x", "p")]
    runs = [
        {"decoder": name, "task": task, "pair": pair}
        for name, (task, pair) in zip(names, facts, strict=True)
    ]
    told = ["a task=x", "a task=y", "b pair=p", "b pair=q", "c", "d", "d"]
    assert labels(runs) == told


def test_folders_tell_apart_what_nothing_else_does() -> None:
    folders = [Path("s/a/x"), Path("s/b/x"), Path("s/c")]
    assert placed(["a", "a", "b"], folders) == ["a (a/x)", "a (b/x)", "b"]
