from __future__ import annotations

import torch
from torch import tensor

from decoders.vllm.expansion import expanded


def test_each_token_has_its_requests_value() -> None:
    """The second request has no drafted tokens."""
    ends = tensor([2, 2, 5], dtype=torch.int32)
    temperatures = expanded(tensor([0.7, 9.0, 0.0]), ends, 5, replace_from=0, replace_to=1)
    assert temperatures.tolist() == tensor([0.7, 0.7, 1.0, 1.0, 1.0]).tolist()
    top_k = expanded(tensor([50, 9, 0], dtype=torch.int32), ends, 5)
    assert (top_k.tolist(), top_k.dtype) == ([50, 50, 0, 0, 0], torch.int32)
