"""The picture of what each model did when, on rounds with chosen times."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import Command
from make_record import make_record
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from written_run import OUTPUT, autoregressive, fates, pearl, write_run

from analysis import timeline as timeline_command
from decoders.round import Round
from pearl_eval.errors import UserError
from pearl_eval.evaluation.run_files import RunFiles
from pearl_eval.figures.fonts import cells, family
from pearl_eval.figures.lanes import WORK, draw_lanes
from pearl_eval.figures.palette import BLUE_INK, GREEN, GREEN_INK, SKY, VERMILLION
from pearl_eval.figures.timeline import timeline
from pearl_eval.figures.token_text import TokenText, visible
from pearl_eval.results.about import about_decoder
from pearl_eval.results.runs import Run, read_runs
from pearl_eval.results.stretch import (
    TOKENS,
    Decoding,
    Stretch,
    choose_runs,
    choose_stretch,
    decodings,
)

#: What a decoder says of itself that says nothing.
UNKNOWN = about_decoder("unknown", {})


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    alone = {"acceptance_rate": None, "draft_forwards": 0}
    write_run(tmp_path / "sweep" / "0", "autoregressive", autoregressive(), **alone)
    write_run(tmp_path / "sweep" / "1", "pearl", pearl())
    return tmp_path / "sweep"


def texts(figure: Figure) -> list[str]:
    (axes,) = figure.axes
    return [text.get_text() for text in [*figure.texts, *axes.texts]]


def colour_of(box: Patch) -> str:
    return to_hex(box.get_facecolor()).upper()


def test_pearl_is_on_top_and_of_each_decoder_the_fastest(sweep: Path) -> None:
    write_run(sweep / "2", "pearl", pearl(), tokens_per_second=400.0)
    write_run(sweep / "4", "pearl", pearl(), tokens_per_second=900.0, task="gsm8k")
    assert [run.directory.name for run in choose_runs(read_runs(sweep))] == ["2", "0"]


def test_shown_are_what_overlaps_what_takes_turns_and_the_target_alone(tmp_path: Path) -> None:
    """The fastest of each kind, whatever it is called; of no kind here is what drafts alone."""
    alone = {"acceptance_rate": None, "draft_forwards": 0}
    for place, (decoder, speed, more) in enumerate(
        [
            ("mine", 300.0, {"decoder_about": UNKNOWN | {"overlap": "across rounds"}}),
            ("pearl", 250.0, {}),
            ("speculative", 200.0, {}),
            ("prompt_lookup", 220.0, {"draft_forwards": 0}),
            ("generate", 110.0, alone),
            ("autoregressive", 100.0, alone),
            ("draft_only", 900.0, {"acceptance_rate": None}),
        ]
    ):
        write_run(tmp_path / str(place), decoder, pearl(), tokens_per_second=speed, **more)
    runs = read_runs(tmp_path)

    def chosen(*left_out: int) -> list[str]:
        return [
            run.label for run in choose_runs([r for i, r in enumerate(runs) if i not in left_out])
        ]

    assert chosen() == ["mine", "prompt_lookup", "generate"]
    # Where there is none of a kind, another of a kind that there is.
    assert chosen(2, 3) == ["mine", "pearl", "generate"]
    assert chosen(0, 1) == ["prompt_lookup", "speculative", "generate"]
    assert chosen(0, 1, 2, 3) == ["generate", "autoregressive", "draft_only"]
    assert chosen(0, 1, 2, 3, 4, 5) == ["draft_only"]


def test_a_stretch_begins_with_the_same_text_shows_a_rejection_and_is_typical(sweep: Path) -> None:
    """After the first round PEARL takes 45 ms a token: 50 from token 4 on, 40 from token 1 on."""
    shown = decodings(choose_runs(read_runs(sweep)))
    stretch = choose_stretch(shown, tokens=5)
    assert stretch == Stretch(4, pytest.approx(0.3))
    assert [one.begin(stretch.token) for one in shown] == pytest.approx([0.2, 0.5])
    assert [one.written(stretch) for one in shown] == [6, 3]


def test_the_prompts_own_forward_is_no_part_of_a_typical_stretch(tmp_path: Path) -> None:
    """Although the only rejection is in it."""
    rounds = [
        Round("verify", judged=2, accepted=bool(n) + 1, start=0.1 * n, verified_length=2 * n + 2)
        for n in range(6)
    ]
    write_run(tmp_path / "run", "speculative", rounds)
    assert choose_stretch(decodings(read_runs(tmp_path / "run")), tokens=4).token > 0


def test_a_stretch_may_be_chosen_and_ends_with_the_text(sweep: Path) -> None:
    shown = decodings(choose_runs(read_runs(sweep)))
    assert choose_stretch(shown, tokens=3, token=6).token == 6
    assert choose_stretch(shown, tokens=3, token=5).token == 4
    assert choose_stretch(shown, tokens=99).seconds == pytest.approx(0.6)
    with pytest.raises(UserError, match=r"Task/1 has 12 tokens of output, so none after 12"):
        choose_stretch(shown, tokens=3, token=12)


def test_a_stretch_ends_with_what_belongs_to_the_text(sweep: Path) -> None:
    """After seven tokens, or six: the one that shows a rejection ends with the seventh."""
    shown = decodings(choose_runs(read_runs(sweep)))
    assert [choose_stretch(shown, 3, until=end).token for end in (7, 6)] == [4, 1]
    # Where none does one that shows a rejection.
    assert choose_stretch(shown, 3, until=2).token == 4


def test_the_picture_says_and_colours_what_happened(sweep: Path) -> None:
    figure = timeline(choose_runs(read_runs(sweep)), token=1, tokens=5)
    (axes,) = figure.axes
    said = texts(figure)
    assert "In 200 ms, pearl wrote 5 tokens, autoregressive 2" in said
    assert "pearl" in said and "autoregressive" in said
    assert said.count("draft model") == 1 and said.count("target model") == 2
    assert "post-verify: 3 of 3" in said and "post-verify: 1 of 2" in said
    colours = Counter(map(colour_of, axes.patches))
    # Two rounds of PEARL, in which 2 drafted tokens are right and 1 wrong, the other 3 discarded.
    assert (colours[GREEN], colours[VERMILLION]) == (2, 1)
    assert colours[SKY] == 2 + 2
    assert colours["#F6D3BC"] == 3
    assert axes.get_xlim() == pytest.approx((0, 200))


def test_the_text_is_coloured_by_whose_its_tokens_are(sweep: Path) -> None:
    """PEARL's last is the target's own, as are all of the target alone. A round's tokens share its
    time: three in the first 100 ms, two in the next; alone one in each."""
    figure = timeline(choose_runs(read_runs(sweep)), token=1, tokens=5)
    (axes,) = figure.axes
    own = [text for text in axes.texts if text.get_color() in (GREEN_INK, BLUE_INK)]
    assert [(text.get_text(), text.get_color()) for text in own] == [
        *((str(token), GREEN_INK) for token in OUTPUT[1:5]),
        *((str(token), BLUE_INK) for token in (OUTPUT[5], *OUTPUT[1:3])),
    ]
    middles = [text.get_position()[0] for text in own]
    assert middles == pytest.approx([100 / 6, 50, 500 / 6, 125, 175, 50, 150])
    where = figure.texts[1].get_text()
    assert where == "Task/1, tiny pair on cpu. Time 0 is where each text had its first 1 tokens."
    assert {"5 tokens", "2 tokens"} <= set(texts(figure))


def test_each_lane_has_what_its_name_says(sweep: Path) -> None:
    """PEARL's draft model above its target, and below that the text; then the target alone's."""
    figure = timeline(choose_runs(read_runs(sweep)), token=1, tokens=5)
    (axes,) = figure.axes
    lanes = sorted(
        (round(text.get_position()[1], 6), text.get_text())
        for text in axes.texts
        if text.get_text() in ("draft model", "target model", "text")
    )
    names = ["draft model", "target model", "text", "target model", "text"]
    assert [name for _, name in lanes] == names
    draft, target, text, alone, theirs = (height for height, _ in lanes)

    def middles(*colours: str) -> list[float]:
        boxes = [box for box in axes.patches if colour_of(box) in colours]
        return [round(box.get_y() + box.get_height() / 2, 6) for box in boxes]

    assert middles(GREEN, VERMILLION, "#F6D3BC") == [draft] * 6
    assert middles(SKY) == [target] * 2 + [alone] * 2
    written = [one for one in axes.texts if one.get_color() in (GREEN_INK, BLUE_INK)]
    assert [round(one.get_position()[1], 6) for one in written] == [text] * 5 + [theirs] * 2
    said = [one for one in axes.texts if one.get_text().startswith("post-verify")]
    assert {round(one.get_position()[1], 6) for one in said} == {target}
    assert axes.yaxis_inverted()


def test_what_runs_on_by_itself_is_drawn_before_it_is_read(tmp_path: Path) -> None:
    """From when it began; what it did by then is not drawn twice, whatever the clocks say."""
    rounds = [
        Round(
            "on the run",
            drafted=2,
            draft_seconds=0.1,
            target_seconds=0.19,
            start=0.2 * number,
            verified_length=2 * number + 1,
            draft_start=0.2 * number - begun,
            target_start=0.2 * number + 0.01,
            drafted_ids=[100, 7],
            drafted_at=[0, 1],
            fates=fates("ar"),
            own_tokens=1,
        )
        for number, begun in ((1, 0.15), (2, 0.3))
    ]
    prompt = Round("prompt", target_seconds=0.2, verified_length=1, own_tokens=1)
    write_run(tmp_path / "run", "somebody's", [prompt, *rounds])
    (axes,) = timeline(read_runs(tmp_path / "run"), token=0, seconds=0.6).axes
    green = [box for box in axes.patches if colour_of(box) == GREEN]
    assert [box.get_x() for box in green] == pytest.approx([50, 150])


def test_a_draft_that_was_all_prepared_before_is_not_drawn_again(tmp_path: Path) -> None:
    """It took forwards of the round before, which are drawn there."""
    made = {"drafted": 1, "own_tokens": 1, "fates": fates("a"), "drafted_ids": [7]}
    rounds = [
        Round("decode", target_seconds=0.2, verified_length=1, own_tokens=1),
        Round(
            "verify", draft_seconds=0.1, start=0.2, target_seconds=0.2, draft_start=0.25,
            target_start=0.2, verified_length=3, drafted_at=[1], **made,
        ),
        Round(
            "verify", start=0.4, target_seconds=0.2, target_start=0.4, verified_length=5,
            drafted_at=[3], hit=True, prepared=1, **made,
        ),
    ]  # fmt: skip
    write_run(tmp_path / "run", "somebody's", rounds)
    (axes,) = timeline(read_runs(tmp_path / "run"), token=0, seconds=0.6).axes
    green = [box for box in axes.patches if colour_of(box) == GREEN]
    assert [box.get_x() for box in green] == pytest.approx([250])


def test_what_a_decoder_decided_is_told(tmp_path: Path) -> None:
    """It waited for two tokens, and judged three of the five at hand; of all it judges none is
    left, nor of those at hand in the forward that reads the prompt."""
    prompt = Round("decode", target_seconds=0.2, verified_length=1, own_tokens=1, at_hand=30)
    prompt.target_tokens = 20
    some = Round("verify", judged=3, accepted=2, start=0.2, verified_length=4, own_tokens=1)
    some.target_start, some.target_seconds, some.target_tokens = 0.4, 0.4, 4
    some.at_hand, some.awaited = 5, 2
    some.wait_start, some.wait_target_seconds = 0.2, 0.2
    every = Round("verify", judged=3, accepted=3, start=0.8, verified_length=8, own_tokens=1)
    every.target_start, every.target_seconds, every.target_tokens, every.at_hand = 0.8, 0.2, 4, 3
    write_run(tmp_path / "run", "decides", [prompt, some, every])
    figure = draw_lanes(decodings(read_runs(tmp_path / "run")), Stretch(0, 1.0), str, "")
    said = texts(figure)
    assert {"decode", "for 2", "verify: 2 of 3, 2 left", "verify: 3 of 3"} <= set(said)
    assert not any(one.startswith("for ") and one != "for 2" for one in said)


def guesses() -> list[Round]:
    """A tree of three branches, of which two begin alike; then a token that nothing was guessed of.

    Right is the second one. The last ends with what would be right after other tokens.
    """
    ids, places = [7, 101, 102, 100, 101, 9, 8, 102], [0, 1, 2, 0, 1, 2, 1, 2]
    tree = Round("verify", drafted=8, judged=3, accepted=2, verified_length=3, target_seconds=0.2)
    tree.drafted_ids, tree.drafted_at, tree.fates = ids, places, fates("r..aarr.")
    plain = Round("decode", start=0.3, target_start=0.3, target_seconds=0.1, verified_length=4)
    return [tree, plain]


def test_guesses_that_no_model_drafted_have_a_row_for_each_branch(tmp_path: Path) -> None:
    write_run(tmp_path / "run", "lookahead", guesses())
    (one,) = decodings(read_runs(tmp_path / "run"))
    figure = draw_lanes([one], Stretch(0, 0.4), str, "")
    (axes,) = figure.axes
    said = texts(figure)
    assert "guesses" in said and "draft model" not in said
    green, red = (
        [(round(box.get_x()), round(box.get_y(), 2)) for box in axes.patches if colour_of(box) == c]
        for c in (GREEN, VERMILLION)
    )
    top, middle, bottom = sorted({y for _, y in red})
    assert green == [(0, middle), (67, middle)]
    assert red == [(0, top), (133, middle), (67, bottom)]


def test_what_lookahead_guessed_and_accepted_is_told(run_cli: Command, tmp_path: Path) -> None:
    run_cli("decoder=lookahead", "task.limit=2", "task.max_new_tokens=64", "hydra.run.dir=run")
    (one,) = decodings(read_runs(tmp_path / "run"))
    accepted = [list(own).count("accepted") for own in one.rounds["fates"]]
    assert accepted == list(one.rounds["accepted"]) and sum(accepted)
    assert any(len(set(places)) < len(places) for places in one.rounds["drafted_at"])


def served() -> list[Round]:
    """Two steps of an engine: the second judges what was drafted, and waited for, in the first."""
    prompt = Round("decode", target_seconds=0.1, verified_length=1, own_tokens=1, end=0.21)
    prompt.step_seconds = 0.2
    step = Round("verify", 2, 2, 1, draft_seconds=0.06, target_seconds=0.1, start=0.21, end=0.45)
    step.draft_start, step.drafted_from, step.drafted_until = 0.12, [0.12, 0.16], [0.14, 0.2]
    step.wait_start, step.wait_target_seconds = 0.15, 0.05
    step.step_start, step.step_seconds, step.target_start = 0.23, 0.2, 0.25
    step.drafted_ids, step.drafted_at, step.fates = [101, 9], [1, 2], fates("ar")
    step.verified_length, step.own_tokens = 3, 1
    return [prompt, step]


def test_an_engines_steps_are_drawn_with_the_forwards_and_waits_in_them(tmp_path: Path) -> None:
    about = UNKNOWN | {"engine": "vLLM"}
    write_run(tmp_path / "0", "served", served(), decoder_about=about)
    write_run(tmp_path / "1", "pearl", pearl())
    shown = decodings(read_runs(tmp_path))
    figure = draw_lanes(shown[:1], Stretch(0, 0.5), str, "")
    said = texts(figure)
    assert "vLLM's step" in said and "draft model" in said and "target model" not in said
    assert "verify: 1 of 2" in said

    def boxes(colour: str) -> list[tuple[int, int]]:
        (axes,) = figure.axes
        mine = [box for box in axes.patches if colour_of(box) == colour.upper()]
        return [(round(box.get_x()), round(box.get_width())) for box in mine]

    # Each drafted token where its own forward was.
    assert (boxes(GREEN), boxes(VERMILLION)) == ([(120, 20)], [(160, 40)])
    assert boxes(WORK) == [(0, 200), (230, 200)]
    assert boxes(SKY) == [(0, 100), (250, 100)]
    assert boxes("#FFFFFF") == [(150, 50)]
    # What was drafted within a stretch, for a step after it, is a part of it.
    figure = draw_lanes(shown[:1], Stretch(0, 0.19), str, "")
    assert (boxes(GREEN), boxes(VERMILLION)) == ([(120, 20)], [(160, 40)])

    def legend(shown: list[Decoding]) -> set[str]:
        (one,) = draw_lanes(shown, Stretch(0, 0.5), str, "").legends
        return {text.get_text() for text in one.get_texts()}

    assert legend(shown) - legend(shown[1:]) == {"the engine's other work"}


def decoding() -> Decoding:
    """Rounds of 1, 1, 2 and 1 s that give 1, 2, 1 and 3 tokens; the last was drafted from 2.5 s."""
    columns = ["start", "wall", "length_before", "verified_length", "draft_start", "draft_seconds"]
    rows = [
        (0.0, 1.0, 0, 1, 0.0, 0.0), (1.0, 1.0, 1, 3, 0.5, 0.0), (2.0, 2.0, 3, 4, 2.0, 1.0),
        (4.0, 1.0, 4, 7, 2.5, 1.0),
    ]  # fmt: skip
    return Decoding(Run("a", {}, Path()), "T", pd.DataFrame(rows, columns=columns), [1] * 7)


def test_how_odd_a_stretch_is() -> None:
    """After the first round six tokens take 4 s. Two in a second are 4/3 times as many; none in a
    second count as half a token, a third of them."""
    one = decoding()
    assert one.oddness(Stretch(1, 1.0)) == pytest.approx(math.log(4 / 3))
    assert one.oddness(Stretch(3, 1.0)) == pytest.approx(math.log(3))
    assert one.oddness(Stretch(1, 4.0)) == pytest.approx(0)
    assert replace(one, rounds=one.rounds[:1]).oddness(Stretch(0, 1.0)) == 0.0


def test_what_lies_within_a_stretch() -> None:
    """What ends where it begins does not, nor what begins where it ends; what is drafted in it for
    a later round does."""
    one = decoding()

    def within(token: int, seconds: float) -> list[float]:
        return [row["start"] for row in one.within(Stretch(token, seconds))]

    assert within(3, 2.0) == [2.0, 4.0]
    assert within(3, 0.5) == [2.0]
    assert within(1, 1.0) == [1.0]
    assert within(0, 1.0) == [0.0]
    assert [one.begin(token) for token in (0, 1, 2, 3, 9)] == [0, 1, 1, 2, 4]
    assert [one.written(Stretch(1, end)) for end in (0.9, 1.0, 3.0, 4.0)] == [0, 2, 3, 6]
    assert [one.grown(1, tokens) for tokens in (2, 3, 6, 7)] == [1, 2, 3, None]
    assert one.stretch(1, 2) == Stretch(1, 3.0)


def test_runs_of_one_decoder_go_by_their_labels(tmp_path: Path) -> None:
    for place, gamma in enumerate((3, 5)):
        write_run(tmp_path / str(place), "pearl", pearl(), decoder_settings={"gamma": gamma})
    title = draw_lanes(decodings(read_runs(tmp_path)), Stretch(0, 0.6), str, "").texts[0]
    assert title.get_text() == "In 600 ms, pearl γ3 wrote 12 tokens, pearl γ5 12"


def test_a_narrow_forward_says_less(tmp_path: Path) -> None:
    """Of 20 in a row there is room for what became of the tokens, of 80 for nothing."""
    for count, said in ((10, "verify: 3 of 3"), (20, "3 of 3"), (80, None)):
        rounds = [
            Round(
                "verify", judged=3, accepted=3, start=0.1 * n, target_start=0.1 * n,
                target_seconds=0.1, target_tokens=4, verified_length=3 * n + 3,
            )
            for n in range(count)
        ]  # fmt: skip
        write_run(tmp_path / str(count), "some", rounds)
        shown = decodings(read_runs(tmp_path / str(count)))
        found = texts(draw_lanes(shown, Stretch(0, 0.1 * count), str, ""))
        told = {one for one in found if "3 of 3" in one}
        assert told == ({said} if said else set())


def test_models_that_are_two_wait_where_they_do_not_compute(sweep: Path) -> None:
    shown = decodings(choose_runs(read_runs(sweep)))
    (axes,) = draw_lanes(shown, Stretch(0, 0.6), str, "").axes
    waits = [box for box in axes.patches if box.get_hatch()]
    assert [(box.get_x(), box.get_width()) for box in waits] == [(0, pytest.approx(600))] * 2
    (alone,) = draw_lanes(shown[1:], Stretch(0, 0.6), str, "").axes
    assert not [box for box in alone.patches if box.get_hatch()]


def test_the_prompt_of_the_median_speedup_is_shown(tmp_path: Path) -> None:
    """Of four with the warm-up left out, whose speedup is the median of all; of two the slower."""
    rounds = autoregressive()[:4]
    files = RunFiles(tmp_path, {})
    for index, speedup in enumerate((2.5, 9.0, 2.0, 3.0, 1.0)):
        files.append(make_record(index, speedup=speedup, warmup=index == 0), rounds)
    files.close()
    run = Run("a", {}, tmp_path)
    assert [one.task_id for one in decodings([run])] == ["Task/2"]
    assert [one.task_id for one in decodings([run], "Task/3")] == ["Task/3"]


def test_dollar_signs_are_no_formula(sweep: Path) -> None:
    shown = decodings(read_runs(sweep)[1:])
    figure = draw_lanes(shown, Stretch(0, 0.6), lambda token: "$^$", "$_$")
    figure.savefig(sweep / "picture.png")
    assert "$^$" in texts(figure)


def test_the_title_names_decoders_and_each_has_its_idea_beside_it(tmp_path: Path) -> None:
    about = UNKNOWN | {"idea": "both at once"}
    write_run(tmp_path / "0", "mine", pearl(), decoder_about=about)
    write_run(tmp_path / "1", "pearl", pearl())
    said = texts(draw_lanes(decodings(read_runs(tmp_path)), Stretch(0, 0.6), str, ""))
    assert said.count("both at once") == 1
    assert "In 600 ms, mine wrote 12 tokens, pearl 12" in said


def test_names_in_the_title_are_without_folders(sweep: Path) -> None:
    shown = decodings(read_runs(sweep))
    title = draw_lanes(shown, Stretch(0, 0.6), str, "").texts[0].get_text()
    assert title == "In 600 ms, autoregressive wrote 5 tokens, pearl 12"
    # Folder numbers, which the lanes have, would make it too long.
    numbered = [replace(one, run=replace(one.run, label=f"{one.run.label} (7)")) for one in shown]
    assert draw_lanes(numbered, Stretch(0, 0.6), str, "").texts[0].get_text() == title


def test_a_sign_that_the_monospaced_font_lacks_is_drawn_with_another(
    sweep: Path, recwarn: pytest.WarningsRecorder
) -> None:
    """DejaVu Sans, which comes with matplotlib too, has Hebrew; DejaVu Sans Mono has not."""
    assert (visible("\u05d0"), family("a"), family("\u05d0")) == (
        "\u05d0",
        "monospace",
        "DejaVu Sans",
    )
    shown = decodings(read_runs(sweep)[1:])
    draw_lanes(shown, Stretch(0, 0.6), lambda token: "\u05d0", "").savefig(sweep / "picture.png")
    assert not [str(one.message) for one in recwarn if "missing from" in str(one.message)]


def test_wide_signs_take_two_columns_and_combining_ones_none() -> None:
    assert (cells("ab"), cells("\u4e2d"), cells("e\u0301")) == (2, 2, 1)


def test_what_is_only_part_of_a_sign_is_shown_by_its_bytes(
    run_cli: Command, tmp_path: Path
) -> None:
    run_cli("decoder=lookahead", "task.limit=1", "task.max_new_tokens=4", "hydra.run.dir=run")
    text = TokenText(tmp_path / "run")
    assert text(np.int64(text._tokenizer.convert_tokens_to_ids("\u00e4"))) == "\\xe4"


def test_tokens_are_ids_where_there_is_no_tokenizer(sweep: Path) -> None:
    text = TokenText(sweep / "1")
    assert text(OUTPUT[0]) == "100" and text.until_end(OUTPUT) == 12


def test_tokens_are_shown_by_their_text_up_to_the_first_special_one(sweep: Path) -> None:
    """A token of no text is shown by its number, and one of some bytes of a sign by these."""
    text = TokenText(sweep / "1")
    text._tokenizer = SimpleNamespace(
        decode=lambda ids: {1: " word", 2: "", 3: "\ufffd"}[ids[0]],
        convert_ids_to_tokens=lambda token: "\u00e4",
        all_special_ids=[0, 9],
    )
    assert [text(token) for token in (1, 2, 3)] == ["word", "2", "\\xe4"]
    assert [text.until_end(ids) for ids in ([5, 6, 9, 7, 0], [5, 6], [0])] == [2, 2, 0]


def test_tokens_have_the_text_of_the_pairs_own_tokenizer(run_cli: Command, tmp_path: Path) -> None:
    run_cli("decoder=autoregressive", "task.limit=1", "task.max_new_tokens=4", "hydra.run.dir=run")
    assert not TokenText(tmp_path / "run")(40).isdigit()


@pytest.mark.parametrize(
    ("text", "shown"),
    [(" word", "word"), (" ", "␣"), ("\n    x", "⏎␣×4x"), ("\t", "⇥"), ("\U0010fffd", "U+10FFFD")],
)
def test_a_token_is_shown_on_one_line(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_the_command_writes_both_pictures(sweep: Path, run_command: Command) -> None:
    code, out, err = run_command("timeline", str(sweep))
    assert (code, err) == (0, "")
    assert out.split() == [str(sweep / "timeline.png"), str(sweep / "timeline.svg")]
    assert (sweep / "timeline.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (sweep / "timeline.svg").read_text()


@pytest.mark.parametrize(
    ("asked", "drawn"),
    [
        (None, "timeline"),
        ("some.svg", "some"),
        ("some", "some"),
        ("some.pdf", "some.pdf"),
        ("v1.5", None),
    ],
)
def test_both_pictures_have_the_name_that_is_asked_for(
    asked: str | None,
    drawn: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given: list[object] = []

    def timeline(*arguments: object) -> Figure:
        given.append(arguments)
        return Figure()

    monkeypatch.setattr(timeline_command, "find_runs", lambda directories: directories)
    monkeypatch.setattr(timeline_command, "timeline", timeline)
    output = None if asked is None else tmp_path / asked
    if drawn is None:
        with pytest.raises(UserError, match="a picture's name ends by its format"):
            timeline_command.write_timeline([tmp_path], output=output)
        return
    timeline_command.write_timeline([tmp_path], "T/1", 3, 5, 0.25, output)
    written = [str(tmp_path / f"{drawn}.{kind}") for kind in ("png", "svg")]
    assert capsys.readouterr().out.splitlines() == written
    assert sorted(map(str, tmp_path.iterdir())) == written
    timeline_command.write_timeline([tmp_path])
    assert given == [([tmp_path], "T/1", 3, 5, 0.25), ([tmp_path], None, None, TOKENS, None)]


def test_bad_input_is_one_line(sweep: Path, tmp_path: Path, run_command: Command) -> None:
    write_run(tmp_path / "unfinished", "pearl", pearl(), finished=False)
    write_run(tmp_path / "other", "pearl", pearl(), pair="controlled")
    run = str(sweep / "1")
    for arguments, message in {
        (str(tmp_path / "nowhere"),): "there is no run there",
        (str(tmp_path / "unfinished"),): "the run there is not finished: no summary.json",
        (run, "--prompt=Task/9"): "no prompt Task/9 in all of these runs; the first has Task/0,",
        (run, "--from=99"): "has 12 tokens of output, so none after 99",
        (run, "--seconds=-1"): "--seconds must be more than 0, got -1.0",
        (run, "--seconds=0"): "--seconds must be more than 0, got 0.0",
        (run, str(tmp_path / "other")): "is of another pair than",
        (run, "--output=picture.foo"): "picture.foo: a picture's name ends by its format, one of",
        (run, "--output=."): ". ends in no file name: expected the name of a picture",
        (run, str(sweep)): "is a sweep; give it alone, or the directories of runs",
    }.items():
        code, out, err = run_command("timeline", *arguments)
        assert code == 2 and not out
        assert message in err and len(err.splitlines()) == 1


def test_help_teaches(run_command: Command) -> None:
    code, _, err = run_command("timeline", ".", "--tokens=0")
    assert code == 2 and "argument --tokens: expected a number of at least 1, got '0'" in err
    code, _, err = run_command("timeline", ".", "--from=-1")
    assert code == 2 and "argument --from: expected a number of at least 0, got '-1'" in err
    code, out, _ = run_command("timeline", "--help")
    assert code == 0 and "examples:" in out and "--prompt TASK_ID" in out
    assert f"(default: {TOKENS})" in out
