"""A remedy for the temperatures that vLLM loses where it verifies drafted tokens on a CPU.

vLLM 0.32 gives each drafted token its request's temperature, top-k and top-p by a kernel. The one
for CPUs (``vllm/utils/cpu_triton_utils.py``, ``_expand_kernel_impl``) writes them, cut off to whole
numbers, into a copy that is thrown away where they are no 64 bit integers. What drafted tokens are
then judged by is whatever lay in memory. Greedy requests have no temperature, so nothing is seen.
"""

from __future__ import annotations

import torch


def expanded(
    x: torch.Tensor,
    cu_num_tokens: torch.Tensor,
    num_tokens: int,
    replace_from: float = 0,
    replace_to: float = 0,
) -> torch.Tensor:
    """Each request's value for each of its tokens, ``[num_tokens]``.

    Parameters
    ----------
    x
        The values, ``[requests]``; where one is ``replace_from``, ``replace_to`` is taken.
    cu_num_tokens
        Tokens of a request and of all before it, ``[requests]``.
    num_tokens
        Those of all.
    """
    counts = torch.diff(cu_num_tokens, prepend=cu_num_tokens.new_zeros(1))
    values = torch.where(x == replace_from, replace_to, x)
    return values.repeat_interleave(counts, output_size=num_tokens)


def mend() -> bool:
    """Where this process's vLLM loses them, have it expand values by PyTorch; whether it did."""
    try:
        from vllm.platforms import current_platform
        from vllm.v1.sample import rejection_sampler
    except ImportError:
        return False
    if not current_platform.is_cpu():
        return False
    values, ends = torch.tensor([0.5, 1.5]), torch.tensor([1, 3], dtype=torch.int32)
    if rejection_sampler.expand_batch_to_tokens(values, ends, 3).tolist() == [0.5, 1.5, 1.5]:
        return False
    rejection_sampler.expand_batch_to_tokens = expanded
    return True
