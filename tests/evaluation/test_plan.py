"""What is planned of a run's parts, and what of them is refused: pairs and decoders only say so."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from decoders.autoregressive import Autoregressive
from pearl_eval.config.schema import Protocol, ReferenceHardware
from pearl_eval.errors import UserError
from pearl_eval.evaluation.plan import (
    Plan,
    Prompt,
    _check_context,
    _seed,
    check_target,
    load_problems,
)
from tasks.task import Problem

#: A problem of three tokens, and a dialogue of two turns.
ONE, DIALOGUE = Problem("A", "abc"), Problem("D", turns=("x", "yz"))


class SaidPair:
    """A pair whose prompts have a token a sign, ten for an answer; it notes what it is to check."""

    def __init__(self, **own: Any) -> None:
        self.synthetic, self.draft_tokenizer = False, None
        self.architectures = {"target": "the target", "draft": "the draft model"}
        self.stop_ids = (7,)
        self.checked: list[Any] = []
        vars(self).update(own)

    def prompt(self, problem: Problem, answers: Sequence[str] = ()) -> list[int]:
        text = problem.prompt or "".join(problem.turns[: len(answers) + 1])
        return [1] * (len(text) + 10 * len(answers))

    def check_context(self, *asked: Any) -> None:
        self.checked.append(asked)

    def check_rope_switch(self, *asked: Any) -> None:
        self.checked.append(asked)


class SaidDecoder:
    """A decoder that notes what it is to decode."""

    def __init__(self, **own: Any) -> None:
        self.drafts_itself, self.other_vocabulary, self.follows_rope_switch = False, False, True
        self.knows, self.engine_gpus, self.own_reference = None, 3, None
        self.checked: list[Any] = []
        vars(self).update(own)

    def reference(self) -> Any:
        return self.own_reference

    def check_target(self, target: Any) -> None:
        self.checked.append(target)

    def check_draft(self, draft: Any) -> None:
        self.checked.append(draft)


def planned(
    pair: SaidPair, decoder: SaidDecoder, prepared: list[str], fixed_window: bool = False
) -> Plan:
    """A run of both problems, each of them twice, with 6 new tokens and seed 5."""
    config = SimpleNamespace(
        seed=5, protocol=Protocol.paper, reference=SimpleNamespace(hardware=ReferenceHardware.own)
    )
    setup = SimpleNamespace(
        pair=pair,
        runtime=SimpleNamespace(fixed_window=fixed_window),
        with_engine=lambda gpus: SimpleNamespace(pair=pair, gpus=gpus),
    )
    task = SimpleNamespace(max_new_tokens=6, prepare=lambda: prepared.append("task"))
    parts: Any = SimpleNamespace(config=config, decoder=decoder, sampler="sampler", task=task)
    own: Any = setup
    return Plan.of(parts, own, [ONE, DIALOGUE], 2)


def test_each_problem_has_as_many_samples_each_with_a_seed() -> None:
    pair, decoder, prepared = SaidPair(), SaidDecoder(), list[str]()
    plan = planned(pair, decoder, prepared)
    assert [(one.problem, one.sample, one.seed, len(one.ids)) for one in plan.prompts] == [
        (ONE, 0, _seed(5, "A", 0), 3),
        (ONE, 1, _seed(5, "A", 1), 3),
        (DIALOGUE, 0, _seed(5, "D", 0), 1),
        (DIALOGUE, 1, _seed(5, "D", 1), 1),
    ]
    # The last prompt of the dialogue, after an answer.
    assert pair.checked == [({"A": 3}, 6, 1), ({"D": 13}, 6, 2)]
    assert decoder.checked == ["the target", "the draft model"] and prepared == ["task"]
    assert (plan.decoder, plan.sampler, plan.corpus) == (decoder, "sampler", None)
    assert (plan.setup.gpus, plan.turns) == (3, 2 + 2 * 2)  # type: ignore[attr-defined]
    assert isinstance(plan.reference, Autoregressive)
    planned(SaidPair(synthetic=True), decoder, prepared)
    assert prepared == ["task"]
    other: Any = "vLLM alone"
    assert planned(pair, SaidDecoder(own_reference=other), []).reference == other


def test_by_the_papers_protocol_nothing_ends_a_text() -> None:
    plan: Any = planned(SaidPair(), SaidDecoder(), [])
    assert plan.stop_ids == ()
    plan.config.protocol = Protocol.standard
    assert plan.stop_ids == (7,)


@pytest.mark.parametrize(
    ("follows", "fixed", "checks"),
    [(True, False, False), (False, False, True), (True, True, True)],
)
def test_whether_a_text_outgrows_rotations_is_checked_where_they_are_not_followed(
    follows: bool, fixed: bool, checks: bool
) -> None:
    """Of each problem once: how long its first and its last prompt are."""
    pair = SaidPair()
    planned(pair, SaidDecoder(follows_rope_switch=follows), [], fixed)
    expected = [("A", 3, 3, 6, 1), ("D", 1, 13, 6, 2)]
    assert pair.checked[2:] == (expected if checks else [])


def test_a_problem_without_a_prompt_is_refused() -> None:
    pair: Any = SaidPair()
    with pytest.raises(
        UserError, match="T/1: its prompt is empty, so there is nothing to continue"
    ):
        _check_context(pair, [ONE, Problem("T/1")], 6)


def test_a_decoder_and_a_pair_that_do_not_go_together_are_refused() -> None:
    def check(pair: dict[str, Any], decoder: dict[str, Any]) -> list[Any]:
        made = SaidDecoder(**decoder)
        check_target(made, SaidPair(**pair))  # type: ignore[arg-type]
        return made.checked

    with pytest.raises(UserError, match="a synthetic pair makes its tokens up"):
        check({"synthetic": True}, {"drafts_itself": True})
    with pytest.raises(UserError, match="SaidDecoder is for a draft model of another vocabulary"):
        check({}, {"other_vocabulary": True})
    both = ["the target", "the draft model"]
    assert check({}, {"drafts_itself": True}) == check({"synthetic": True}, {}) == both
    assert check({"draft_tokenizer": "its own"}, {"other_vocabulary": True}) == both
    assert check({"architectures": {"target": "alone"}}, {}) == ["alone"]
    assert check({"architectures": {}}, {}) == []

    def refuse(model: Any) -> None:
        raise ValueError(f"not {model}")

    for name, model in (("check_target", "the target"), ("check_draft", "the draft model")):
        with pytest.raises(UserError, match=f"^not {model}$"):
            check({}, {name: refuse})


def test_a_problem_that_is_there_twice_is_refused() -> None:
    def load(*problems: Problem) -> list[Problem]:
        task: Any = SimpleNamespace(problems=lambda: list(problems))
        return load_problems(task)

    assert load(ONE, DIALOGUE) == [ONE, DIALOGUE]
    with pytest.raises(UserError, match="the task has A twice; each problem needs its own name"):
        load(ONE, DIALOGUE, Problem("A", "other"))

    def fail() -> None:
        raise ValueError("no such split")

    task: Any = SimpleNamespace(problems=fail)
    with pytest.raises(UserError, match="the task's problems can't be loaded: no such split"):
        load_problems(task)


def test_a_prompt_is_told_by_its_problem_sample_and_turn() -> None:
    first = Prompt(DIALOGUE, [1], 0, sample=3)
    later = Prompt(DIALOGUE, [1], 0, 3, ("so",))
    assert [one.key for one in (first, later)] == [("D", 3, 1), ("D", 3, 2)]
    assert Prompt(ONE, [1], 0).key == ("A", 0, 0)
