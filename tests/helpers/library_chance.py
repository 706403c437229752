"""Every way that chance can go through transformers' real code, and what must come of it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from toy import Branches

from decoders.round import Round
from decoders.sampling.temperature import Warping
from decoders.session import Session


def check_distribution(
    session: Session, prompt: Sequence[int], length: int, warping: Warping
) -> list[Round]:
    """Check that a session's outputs are distributed as its target's; gives all rounds there were.

    ``warping`` is what its sampler does to logits.
    """
    branches = Branches()

    def multinomial(rows: torch.Tensor, num_samples: int) -> torch.Tensor:
        return torch.tensor([[branches.pick(row.tolist())] for row in rows])

    def rand_like(ratios: torch.Tensor) -> torch.Tensor:
        """What is compared with the chances to accept: 0 accepts, 2 rejects."""
        certain = ratios.clamp(max=1).tolist()
        return torch.tensor([2.0 * branches.pick([chance, 1 - chance]) for chance in certain])

    rounds: list[Round] = []

    def run() -> tuple[int, ...]:
        generation = session.decode(prompt, length, [])
        rounds.extend(generation.rounds)
        return tuple(generation.output_ids)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "multinomial", multinomial)
        patch.setattr(torch, "rand_like", rand_like)
        found = branches.outcomes(run)
    target = session.target
    for output in itertools.product(range(target.vocab_size), repeat=length):
        target.rollback(0)
        rows = warping(target.extend([*prompt, *output], rows=length + 1)[:length]).softmax(-1)
        chance = float(rows.gather(-1, torch.tensor(output)[:, None]).prod())
        assert found.get(output, 0.0) == pytest.approx(chance, abs=1e-5), output
    return rounds
