"""The checks of docs/checks.md, each so small that it takes about a second."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from exact import (
    DRAFT,
    PROMPT,
    TARGET,
    check,
    distribution,
    every_way,
    expected,
    in_one_process,
    start,
)
from small_pair import SmallPair, make_mixture, make_model
from toy import VOCAB, TableModel, table

from decoders.autoregressive import Autoregressive
from decoders.decoder import Decoder
from decoders.model.cached_model import CachedModel
from decoders.model.fixed_window import WINDOW, FixedWindowModel
from decoders.model.reading import Event
from decoders.process.models import Models
from decoders.process.worker import WorkerOptions
from decoders.sampling.sampler import Greedy, OwnChoice, Sampler
from decoders.sampling.temperature import Temperature
from pearl_eval.checks.distribution import DistributionCheck
from pearl_eval.checks.equivalence import EquivalenceChecker

#: A draft model that is right about as often as not.
CLOSE_DRAFT = (TARGET + table(seed=2, possible=VOCAB)) / 2


def upside_down(conditionals: torch.Tensor) -> torch.Tensor:
    """The same possible tokens, each the more probable the less it was."""
    turned = torch.where(conditionals > 0, 1 / conditionals, 0.0)
    return turned / turned.sum(-1, keepdim=True)


@dataclass(frozen=True)
class Case:
    """What is checked: a decoder, and how it samples; greedy decoding is checked besides.

    ``letters`` are the checks that are made of it.
    """

    make: Callable[[], Decoder]
    sampler: Temperature = field(default_factory=Temperature)
    length: int = 3
    #: The draft model's table, where that counts for what is drawn.
    draft: torch.Tensor = DRAFT
    letters: str = "EDGAVBMF"

    @property
    def own_choice(self) -> Sampler:
        """With which an output must be the reference's."""
        return self.sampler if self.sampler.coupled else Greedy()


def exact_distribution(case: Case, pair: SmallPair) -> None:
    with every_way() as branches:
        found = distribution(branches, case.make(), case.sampler, case.length, case.draft)
    check(found, expected(case.sampler, case.length))


def sampled_tokens(case: Case, pair: SmallPair) -> None:
    fit = DistributionCheck(
        TableModel(TARGET),  # type: ignore[arg-type]
        case.sampler.probabilities,
        TableModel(case.draft),  # type: ignore[arg-type]
    )
    with in_one_process():
        decoder = start(case.make(), case.sampler, case.draft)
        # Short texts, too: what goes wrong at their start would drown in long ones.
        for seed in range(700):
            fit.add(PROMPT, decoder.decode(PROMPT, 50 if seed < 60 else 2, [], seed).output_ids)
    assert not fit.fit().refused


def _texts() -> Iterator[tuple[list[int], int, list[int]]]:
    yield PROMPT, 3000, []
    for prompt in itertools.product(range(VOCAB), repeat=2):
        yield from ((list(prompt), limit, []) for limit in (1, 2, 7))
        yield from ((list(prompt), 12, [stop]) for stop in range(VOCAB))


def equality(case: Case, pair: SmallPair) -> None:
    with in_one_process():
        decoder = start(case.make(), case.own_choice, CLOSE_DRAFT)
        reference = start(Autoregressive(), case.own_choice)
        for text in _texts():
            ours, theirs = decoder.decode(*text), reference.decode(*text)
            assert ours.output_ids == theirs.output_ids
            assert ours.finish_reason == theirs.finish_reason


def acceptance(case: Case, pair: SmallPair) -> None:
    """A greedily drafted token is accepted iff it is what the draft model says, asked afresh."""
    with in_one_process():
        if not case.make().uses_draft:
            return
        decoder = start(case.make(), Greedy(), CLOSE_DRAFT)
        for first in range(VOCAB):
            generation = decoder.decode([first, 2], 120, [])
            output = generation.output_ids
            rows = TableModel(CLOSE_DRAFT).extend([first, 2, *output], len(output) + 1)
            agrees = (rows[:-1].argmax(-1) == torch.tensor(output)).tolist()
            known = 0
            for one in generation.rounds:
                # Some were left unjudged, and are compared with what the target has chosen since.
                first = known - one.compared
                compared, judged = agrees[first:known], agrees[known : first + one.judged]
                right = one.accepted - one.compared_accepted
                assert compared == [i < one.compared_accepted for i in range(len(compared))]
                assert judged == [i < right for i in range(len(judged))]
                known = one.verified_length


def verdict(case: Case, pair: SmallPair) -> None:
    """On models of the real kind; and the verdict on a wrong token must be a violation."""
    _verdict(case, pair.load_target(), pair.load_draft)


def bfloat16_verdict(case: Case, pair: SmallPair) -> None:
    """The same in bfloat16, where rounding makes ties."""
    target, draft = pair.load_target(), pair.load_draft()
    for model in (target, draft):
        model.model.to(torch.bfloat16)
    _verdict(case, target, lambda: draft)


def mixture_verdict(case: Case, pair: SmallPair) -> None:
    """The same on a mixture of experts, where rounding changes which experts are chosen."""
    target, draft = (CachedModel(make_mixture(noise)) for noise in (0.0, 0.02))
    _verdict(case, target, lambda: draft)


def _verdict(case: Case, target: CachedModel, load_draft: Callable[[], CachedModel]) -> None:
    models = Models(target, load_draft, WorkerOptions())
    checker = EquivalenceChecker(target)
    with in_one_process():
        session = case.make().start(models, case.own_choice)
        reference = Autoregressive().start(models, case.own_choice)
        for first in range(3):
            prompt = [first, *range(20, 40)]
            made = session.decode(prompt, 60, [])
            theirs = reference.decode(prompt, 60, []).output_ids
            wrong = [*theirs[:10], (theirs[10] + 1) % target.vocab_size, *theirs[11:]]

            def judge(output: list[int], events: Sequence[Event]) -> str:
                verifier = case.own_choice.verifier(0, len(prompt))  # noqa: B023
                assert isinstance(verifier, OwnChoice)
                return checker.compare(prompt, output, theirs, 60, [], verifier, events).kind  # noqa: B023

            assert judge(made.output_ids, made.events) in ("identical", "tie")
            assert judge(wrong, made.events) == "violation"
            assert judge(wrong, ()) == "violation"


def fixed_windows(case: Case, pair: SmallPair) -> None:
    """Logits are the same bits, read at once or in steps."""
    model = FixedWindowModel(make_model(300, layers=2, seed=1).to(torch.bfloat16))
    text = [(7 * i) % 300 for i in range(4 * WINDOW)]
    whole = model.extend(text, rows=len(text)).clone()
    model.rollback(0)
    for end in (3, 5, 4, 13, 12, 20, 31):
        model.rollback(end - 2)
        rows = model.extend(text[:end], rows=end - model.length)
        assert torch.equal(rows, whole[end - len(rows) : end])


#: The checks, by their letters in docs/checks.md.
CHECKS: dict[str, Callable[[Case, SmallPair], None]] = {
    "E": exact_distribution,
    "D": sampled_tokens,
    "G": equality,
    "A": acceptance,
    "V": verdict,
    "B": bfloat16_verdict,
    "M": mixture_verdict,
    "F": fixed_windows,
}


def failures(case: Case, pair: SmallPair, letters: Iterable[str]) -> dict[str, Exception]:
    """Those of some checks that fail, and how."""
    found = {}
    for letter in letters:
        # Where a bug stops the decoder with an error, it has been seen as well.
        try:
            CHECKS[letter](case, pair)
        except Exception as error:
            found[letter] = error
    return found
