"""What is decoded by whom and when, and what becomes of it: decoders here only say their part."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from make_record import make_record

from decoders.generation import Generation
from decoders.round import Round
from decoders.sampling.sampler import Greedy, Sampler
from decoders.sampling.temperature import Temperature
from pearl_eval.checks.verdict import Verdict
from pearl_eval.config.schema import Dtype, RuntimeConfig
from pearl_eval.errors import UserError
from pearl_eval.evaluation import comparison, recorder
from pearl_eval.evaluation.comparison import Comparison
from pearl_eval.evaluation.outcome import Outcome
from pearl_eval.evaluation.plan import Prompt
from pearl_eval.evaluation.recorder import _figures, _verification, wrong_outputs
from pearl_eval.evaluation.reference import ReferenceRun
from pearl_eval.evaluation.run_files import Finished
from pearl_eval.sizes.model_size import ModelSize
from tasks.scoring.score import Score
from tasks.task import Problem

#: 1 weight, 1 value of cache a token, and no width: a token costs 2 operations.
SIZE = ModelSize(1, 1, 1, 0, 99)


class Said:
    """A decoder that says some tokens, in some seconds, whatever it is given, and notes that."""

    lossless = True
    uses_draft = True
    other_vocabulary = False

    def __init__(self, name: str, tokens: list[int], seconds: float, log: list[str]) -> None:
        self._name, self._tokens, self._seconds, self._log = name, tokens, seconds, log

    def remember(self, prompt: Sequence[int], output: Sequence[int]) -> None:
        self.remembered = [prompt, output]

    def decode(
        self, prompt: Sequence[int], limit: int, stop_ids: Sequence[int], seed: int
    ) -> Generation:
        assert (limit, stop_ids) == (9, (0,))
        self._log.append(f"{self._name} {prompt[0]} by {seed}")
        rounds = [Round("decode", target_seconds=1.0, target_tokens=5, verified_length=1)]
        return Generation(self._tokens, "length", self._seconds, rounds, [])


class Graded:
    """A task that counts the words that are right, and notes what it was given."""

    max_new_tokens = 9

    def __init__(self) -> None:
        self.given: list[str] = []
        self.right: str | None = "3 4"

    def score(self, problem: Problem, text: str) -> Score | None:
        self.given.append(text)
        return None if self.right is None else Score(text == self.right, text)


class Case:
    """A comparison of two such decoders over three problems."""

    def __init__(
        self,
        ours: list[int] | None = None,
        sampler: Sampler | None = None,
        cached: Any = None,
        turns: int = 0,
        synthetic: bool = False,
    ) -> None:
        self.log: list[str] = []
        self.task = Graded()
        self.decoder = Said("ours", ours or [3, 4], 2.0, self.log)
        pair = SimpleNamespace(
            sizes={"target": SIZE, "draft": SIZE},
            synthetic=synthetic,
            stop_ids=(0,),
            decode=lambda prompt, ids: " ".join(map(str, ids)),
            answer=lambda ids: f"answer {ids[0]}",
        )
        problems = [Problem(f"T/{i}", turns=("?",) * turns) for i in range(3)]
        self.prompts = [Prompt(one, [10 + i, 1], seed=i) for i, one in enumerate(problems)]
        plan: Any = SimpleNamespace(
            config=SimpleNamespace(reference=SimpleNamespace(tolerance_factor=4.0)),
            sampler=sampler or Greedy(),
            setup=SimpleNamespace(
                source=SimpleNamespace(dtype=Dtype.bfloat16),
                devices=SimpleNamespace(target=("cpu",), draft=("cpu",)),
                runtime=RuntimeConfig(),
            ),
            pair=pair,
            prompts=self.prompts,
            decoder=self.decoder,
            task=self.task,
            stop_ids=(0,),
            next_turn=self.next_turn,
        )
        reference: Any = Said("reference", [3, 4], 6.0, self.log)
        models: Any = SimpleNamespace(target="target", load_draft=lambda: "draft")
        self.comparison = Comparison(plan, models, lambda: reference, cached)
        self.comparison.session = self.decoder  # type: ignore[assignment]

    def next_turn(self, prompt: Prompt, answer: str) -> Prompt | None:
        if prompt.turn >= len(prompt.problem.turns):
            return None
        self.log.append(f"after {answer}")
        return Prompt(prompt.problem, [prompt.ids[0] + 10, 1], 7, 0, (*prompt.answers, answer))

    def outcomes(self, finished: Any = None) -> list[Outcome]:
        return list(self.comparison.outcomes(finished or {}))


def test_who_begins_alternates_from_prompt_to_prompt() -> None:
    case = Case()
    outcomes = case.outcomes()
    assert case.log == [
        "reference 10 by 0", "ours 10 by 0", "ours 11 by 1", "reference 11 by 1",
        "reference 12 by 2", "ours 12 by 2",
    ]  # fmt: skip
    assert [one.record.warmup for one in outcomes] == [True, False, False]
    assert [one.record.task_id for one in outcomes] == ["T/0", "T/1", "T/2"]
    assert all(one.new and one.record.speedup == 3.0 for one in outcomes)
    assert {one.record.verdict for one in outcomes} == {"identical"}


@pytest.mark.parametrize(
    ("before", "after", "taken"),
    [(10.0, 14.5, 4.5), (None, 14.5, None), (10.0, None, None), (0.0, 2.5, 2.5)],
)
def test_energy_is_what_was_counted_meanwhile(
    before: float | None, after: float | None, taken: float | None
) -> None:
    """In joules, of each decoder."""
    case = Case()
    readings: list[float | None] = []
    case.comparison._meter = SimpleNamespace(joules=lambda: readings.pop(0))  # type: ignore[assignment]
    readings += [before, after]
    assert case.comparison.decode(case.prompts[0])[1] == taken
    readings += [before, after]
    assert case.comparison.measure_reference(case.prompts[0]).joules == taken


def test_each_turn_follows_the_references_answer_and_alternates_too() -> None:
    case = Case(turns=2)
    case.prompts = case.prompts[:1]
    case.comparison._plan.prompts = case.prompts  # type: ignore[misc]
    outcomes = case.outcomes()
    assert case.log == [
        "ours 10 by 0", "reference 10 by 0", "after answer 3", "reference 20 by 7", "ours 20 by 7",
    ]  # fmt: skip
    assert [(one.record.turn, one.record.warmup) for one in outcomes] == [(1, True), (2, False)]
    assert outcomes[0].record.text == "answer 3"


def test_a_cached_reference_is_not_decoded() -> None:
    cached = SimpleNamespace(run=lambda prompt: ReferenceRun([3, 4], 8.0, None))
    case = Case(cached=cached)
    assert [one.record.reference_seconds for one in case.outcomes()] == [8.0] * 3
    assert case.log == ["ours 10 by 0", "ours 11 by 1", "ours 12 by 2"]


class There:
    """All hardware: notes when it is entered, by whom."""

    def __init__(self, log: list[str], more: bool = True, reference: Any = None) -> None:
        self.more, self.reference, self._log = more, reference, log

    @contextlib.contextmanager
    def _entered(self, who: str) -> Iterator[None]:
        self._log.append(f"{who} there")
        yield
        self._log.append("back")

    def for_reference(self) -> Any:
        return self._entered("reference")

    def for_decoder(self) -> Any:
        return self._entered("decoder")


def test_the_reference_on_all_hardware_is_on_the_other_side_of_the_decoder() -> None:
    case = Case()
    case.comparison._everything = There(case.log)  # type: ignore[assignment]
    outcomes = case.outcomes()
    once = ["reference 10 by 0", "decoder there", "ours 10 by 0", "back"]
    there = ["reference there", "reference 10 by 0", "back"]
    assert case.log[:7] == [*once, *there]
    ours, theirs = ["decoder there", "ours 11 by 1", "back"], "reference 11 by 1"
    assert case.log[7:14] == ["reference there", theirs, "back", *ours, theirs]
    record = outcomes[1].record
    assert (record.equal_hardware_seconds, record.equal_hardware_new_tokens) == (6.0, 2)
    assert record.speedup == 3.0


def test_another_target_is_the_reference_there_where_there_is_one() -> None:
    case = Case()
    other = Said("spread", [3], 4.0, case.log)
    case.comparison._everything = There(case.log, reference=other)  # type: ignore[assignment]
    record = case.outcomes()[0].record
    assert "spread 10 by 0" in case.log
    assert (record.equal_hardware_seconds, record.equal_hardware_new_tokens) == (4.0, 1)
    # What it says does not count: equivalence is with the run's own reference.
    assert (record.verdict, record.reference_output_ids) == ("identical", [3, 4])


def test_with_no_more_hardware_the_one_reference_is_the_other() -> None:
    cached = SimpleNamespace(run=lambda prompt: ReferenceRun([3, 4], 8.0, None))
    case = Case(cached=cached)
    case.comparison._everything = There(case.log, more=False)  # type: ignore[assignment]
    record = case.outcomes()[2].record
    assert (record.reference_seconds, record.equal_hardware_seconds) == (8.0, 8.0)
    assert not any(line.startswith("reference") for line in case.log)


def test_beside_a_cached_reference_that_on_all_hardware_is_measured() -> None:
    cached = SimpleNamespace(run=lambda prompt: ReferenceRun([3, 4], 8.0, None))
    case = Case(cached=cached)
    case.comparison._everything = There(case.log)  # type: ignore[assignment]
    record = case.outcomes()[2].record
    assert (record.reference_seconds, record.equal_hardware_seconds) == (8.0, 6.0)
    assert case.log.count("reference there") == 3


def test_without_being_asked_for_there_is_none() -> None:
    record = Case().outcomes()[1].record
    assert (record.equal_hardware_seconds, record.equal_hardware_new_tokens) == (None, None)


def test_settings_are_chosen_where_the_decoder_computes() -> None:
    case = Case()
    case.comparison._everything = There(case.log)  # type: ignore[assignment]
    case.decoder.after_warmup = lambda rounds: case.log.append(f"{len(rounds)} rounds")  # type: ignore[attr-defined]
    case.comparison.after_warmup([Round("verify")])
    assert case.log == ["decoder there", "1 rounds", "back"]


def finished(case: Case, *indices: int) -> dict[Any, Finished]:
    found = {}
    for index in indices:
        record = make_record(index, task_id=f"T/{index}", reference_output_ids=[3])
        found[case.prompts[index].key] = Finished(record, [])
    return found


def test_a_continued_run_warms_up_once_and_takes_what_is_there() -> None:
    case = Case()
    outcomes = case.outcomes(finished(case, 0))
    assert case.log == [
        "reference 11 by 1", "ours 11 by 1", "ours 11 by 1", "reference 11 by 1",
        "reference 12 by 2", "ours 12 by 2",
    ]  # fmt: skip
    assert [one.new for one in outcomes] == [False, True, True]
    assert case.decoder.remembered == [case.prompts[0].ids, outcomes[0].record.output_ids]
    assert not any(one.record.warmup for one in outcomes[1:])


def test_a_run_that_lacks_a_prompt_in_between_is_refused() -> None:
    case = Case()
    with pytest.raises(UserError, match=r"lack \('T/0', 0, 0\), but have later prompts"):
        case.outcomes(finished(case, 1))


def test_verdicts_by_decoder_and_sampling() -> None:
    """Of a decoder that does not claim the target's output, and of sampled tokens, the first
    difference is told; of all others the checker judges."""
    lossy = Case([3, 5])
    lossy.decoder.lossless = False
    record = lossy.outcomes()[0].record
    assert (record.verdict, record.first_divergence) == ("lossy", 1)

    sampled = Case([5, 4], Temperature())
    sampled.comparison._distribution = SimpleNamespace(add=lambda *_: None)  # type: ignore[assignment]
    record = sampled.outcomes()[0].record
    assert (record.verdict, record.first_divergence) == ("sampled", 0)

    checked: list[Any] = []
    for sampler in (Greedy(), Temperature(coupled=True)):
        case = Case([3, 5], sampler)
        case.comparison._distribution = SimpleNamespace(add=lambda *_: None)  # type: ignore[assignment]
        case.comparison._judge._checker = SimpleNamespace(  # type: ignore[assignment]
            compare=lambda *given: checked.append(given[:5]) or Verdict("tie", 1)
        )
        assert case.outcomes()[2].record.verdict == "tie"
        assert checked[-1] == ([12, 1], [3, 5], [3, 4], 9, (0,))


def test_both_outputs_are_scored_up_to_the_end_of_text() -> None:
    """The same output once; another one's score is its own."""
    case = Case([3, 4, 0, 9])
    case.comparison._judge._checker = SimpleNamespace(compare=lambda *_: Verdict("tie", 2))  # type: ignore[assignment]
    record = case.outcomes()[0].record
    assert record.text == "3 4" and case.task.given == ["3 4"] * 3  # once a problem
    assert (record.correct, record.reference_correct, record.result) == (True, True, "3 4")

    wrong = Case([5])
    wrong.comparison._judge._checker = SimpleNamespace(compare=lambda *_: Verdict("tie", 0))  # type: ignore[assignment]
    record = wrong.outcomes()[0].record
    assert (record.text, record.result) == ("5", "5")
    assert (record.correct, record.reference_correct) == (False, True)

    same = Case()
    same.outcomes()
    assert same.task.given == ["3 4"] * 3  # once a problem


def test_without_a_score_of_the_tasks_own_the_references_answer_is_right() -> None:
    for ours, right in (([3, 4], True), ([5], False)):
        case = Case(ours)
        case.task.right = None
        case.comparison._judge._checker = SimpleNamespace(compare=lambda *_: Verdict("tie", 0))  # type: ignore[assignment]
        record = case.outcomes()[0].record
        assert (record.correct, record.reference_correct, record.result) == (right, None, "")


def test_made_up_tokens_are_neither_text_nor_scored() -> None:
    case = Case(synthetic=True)
    record = case.outcomes()[0].record
    assert (record.text, record.correct, record.reference_correct) == ("", None, None)
    assert record.synthetic and not case.task.given


def test_cost_is_ours_and_the_references_apart() -> None:
    """Three prompts of two tokens. Ours: a forward over 5 tokens, of which 1 is the prompt's, for a
    text of two: 4 × 2 operations, 3 of 4 wasted. The reference: two forwards over one token.
    A value takes 2 bytes; of the target 1 weight is read, and the keys and values of 6, or 3 and 4
    tokens."""
    case = Case()
    case.outcomes()
    assert case.comparison.cost() == {
        "target_flops_per_token": 3 * 8 / 6,
        "target_wasted_flops_per_token": 3 * 6 / 6,
        "target_bytes_per_token": 2 * 3 * (1 + 2 + 4) / 6,
        "draft_flops_per_token": 0,
        "draft_wasted_flops_per_token": 0,
        "draft_bytes_per_token": 0,
        "reference": {
            "target_flops_per_token": 2,
            "target_wasted_flops_per_token": 0,
            "target_bytes_per_token": 2 * 3 * ((1 + 3) + (1 + 4)) / 6,
        },
    }


@pytest.mark.parametrize("uses_draft", [True, False])
def test_only_random_tokens_are_tested(uses_draft: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, when all are there, beside the draft model's own distribution if it has one."""
    said: list[str] = []
    greedy = Case()
    greedy.outcomes()
    assert greedy.comparison.fit(said.append) is None
    given: list[Any] = []

    def check(*models: Any) -> Any:
        given.append(models)
        return SimpleNamespace(add=lambda *some: given.append(some), fit=lambda: "a fit")

    monkeypatch.setattr(comparison, "DistributionCheck", check)
    sampler = Temperature(temperature=0.5, draft_temperature=2.0)
    case = Case(sampler=sampler)
    case.decoder.uses_draft = uses_draft
    case.outcomes()
    assert (given, said) == ([], [])
    assert case.comparison.fit(said.append) == "a fit"
    (target, ours, draft, theirs), *texts = given
    assert (target, draft) == ("target", "draft" if uses_draft else None)
    logits = torch.tensor([[0.0, 1.0]])
    # At a temperature of 0.5 the odds are e², at 2 they are √e.
    assert ours(logits)[0].tolist() == pytest.approx([1 / (1 + math.e**2), 1 / (1 + math.e**-2)])
    assert theirs(logits)[0, 0].item() == pytest.approx(1 / (1 + math.e**0.5))
    assert texts == [([10, 1], [3, 4]), ([11, 1], [3, 4]), ([12, 1], [3, 4])]
    assert len(said) == 1


def test_wrong_outputs_are_refused(tmp_path: Any) -> None:
    """With the first of them, and how many there are; sampled ones below one in a million."""
    fine = {"sampling_p_value": 1.1e-6, "sampled_tokens": 9}
    biased = fine | {"sampling_p_value": 0.9e-6}
    records = [make_record(0), make_record(1, violation="T/1, so"), make_record(2, violation="T/2")]
    assert wrong_outputs(records[:1], fine, True, tmp_path) == ""
    assert wrong_outputs(records[:1], biased, False, tmp_path) == ""
    wrong = wrong_outputs(records, fine, True, tmp_path)
    assert wrong.startswith("2 of 3 outputs are not the target's own; the first: T/1, so; records")
    wrong = wrong_outputs(records[:1], biased, True, tmp_path)
    assert wrong.startswith("the 9 sampled tokens are not") and "(p = 9.0e-07)" in wrong


def test_the_peak_of_memory_is_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder.environment, "peak_memory_bytes", lambda: 50)
    session = SimpleNamespace(peak_memory_bytes=lambda: 7)
    nothing: Any = None
    made = recorder.Recorder(nothing, nothing, nothing, cast(Any, SimpleNamespace(session=session)))
    assert made.peak_memory_bytes() == 57


def test_what_is_recorded_of_each_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    """The warm-up's rounds come before all, and what an earlier attempt recorded is there already.
    That drafts are lost is said once."""
    log: list[Any] = []
    said = SimpleNamespace(
        after_warmup=lambda rounds: log.append(("after", rounds)),
        session=SimpleNamespace(settings=lambda: {"gamma": 3}),
    )
    files = SimpleNamespace(
        begin=lambda settings: log.append(("begin", settings)),
        append=lambda record, rounds: log.append((record.task_id, rounds)),
    )
    nothing: Any = None
    made = recorder.Recorder(nothing, nothing, cast(Any, files), cast(Any, said))
    losses = ("", "", "died", "died again")
    records = [make_record(i, warmup=i == 0, lost=lost) for i, lost in enumerate(losses)]
    rounds = [[Round("verify", judged=i)] for i in range(4)]
    for place, record in enumerate(records):
        made.add(Outcome(Finished(record, rounds[place]), new=place != 1))
    assert log == [
        ("after", rounds[0]),
        ("begin", {"gamma": 3}),
        ("Task/0", rounds[0]),
        ("Task/2", rounds[2]),
        ("Task/3", rounds[3]),
    ]
    assert made.records == records
    err = " ".join(capsys.readouterr().err.split())
    assert err.count("without drafts") == 1 and "from Task/2 on without drafts: died" in err


def test_a_tasks_own_lines_are_of_whole_dialogues() -> None:
    """Of a dialogue its turns' texts once the last is there; of made up tokens none."""
    problems = [Problem("D", turns=("?", "?")), Problem("A"), Problem("B")]
    task = SimpleNamespace(lines=lambda problem, texts, model: (problem.task_id, texts, model))
    plan: Any = SimpleNamespace(
        prompts=[Prompt(one, [1], 0) for one in problems],
        pair=SimpleNamespace(synthetic=False),
        task=task,
    )
    records = [
        make_record(task_id=name, turn=turn, sample=sample, text=text)
        for name, sample, turn, text in (
            ("D", 0, 1, "a"), ("D", 0, 2, "b"), ("D", 1, 1, "c"), ("D", 1, 2, "d"),
            ("A", 0, 0, "e"), ("D", 2, 1, "unfinished"), ("B", 0, 0, "f"),
        )
    ]  # fmt: skip
    assert list(recorder._task_lines(plan, records, "mine")) == [
        ("D", ["a", "b"], "mine"),
        ("D", ["c", "d"], "mine"),
        ("A", ["e"], "mine"),
        ("B", ["f"], "mine"),
    ]
    plan.pair.synthetic = True
    assert list(recorder._task_lines(plan, records, "mine")) == []


def test_a_tasks_own_figures_are_of_each_problems_samples() -> None:
    records = [
        make_record(0, sample=0, correct=True),
        make_record(0, sample=1, correct=False),
        make_record(1, correct=None),
    ]
    task = SimpleNamespace(figures=lambda correct: correct)
    plan: Any = SimpleNamespace(task=task, pair=SimpleNamespace(synthetic=False))
    assert _figures(plan, records) == {"Task/0": [True, False], "Task/1": [False]}
    plan.pair.synthetic = True
    assert _figures(plan, records) == {}


def test_how_drafted_tokens_were_judged_is_told_where_it_was_a_choice() -> None:
    some, none = ([SimpleNamespace(judged=judged)] for judged in (3, 0))
    for sampler, records, told in (
        (Temperature(verification="block"), some, "block"),
        (Temperature(), some, "token"),
        (Temperature(verification="block"), none, None),
        (Greedy(), some, None),
    ):
        plan: Any = SimpleNamespace(sampler=sampler)
        assert _verification(plan, cast(Any, records)) == {"verification": told}
