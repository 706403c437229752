"""The columns of the frame of runs: what each means, in which unit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column of the frame."""

    unit: str
    meaning: str


COLUMNS: dict[str, Column] = {
    "run": Column("path", "the run's directory"),
    "sweep": Column("path", "the directory of its sweep"),
    "decoder": Column("name", "the decoder under test"),
    "gamma": Column("tokens", "its draft length, as in use; none where it has none"),
    "settings": Column("JSON", "all its settings, as in use"),
    "asked": Column("JSON", "its settings as asked for: a draft length may be `auto`"),
    "schedule": Column(
        "text",
        "which model runs when: `Sequential`, `Parallel ends=2`, …; none where it is not said",
    ),
    "label": Column("name", "the decoder, with what tells it from others of its name here"),
    "pair": Column("name", "the model pair"),
    "task": Column("name", "the task"),
    "seed": Column("number", "what random numbers derive from"),
    "synthetic": Column("bool", "tokens were made up"),
    # Conditions: runs that differ in them are kept apart.
    "protocol": Column("name", "`paper`: the end of text is ignored; `standard`: it ends it"),
    "max_new_tokens": Column("tokens", "the longest output"),
    "limit": Column("prompts", "how many prompts were asked for; none: all"),
    "data": Column("digest", "of the prompts as decoded and scored"),
    "weights": Column("digest", "of the target's weights"),
    "draft_weights": Column("digest", "of the draft model's; none where there is none"),
    "dtype": Column("name", "precision of weights and arithmetic"),
    "sampling": Column("text", "the sampling rule and its settings"),
    "hardware": Column("names", "kinds of devices, the target's / the draft model's"),
    "target_devices": Column("devices", "how many the target is spread over"),
    "parallel": Column("text", "how it is spread: by layers or tensor"),
    "processes": Column("text", "threads and cores of each model's process"),
    "draft_place": Column(
        "text",
        "whether the draft model has a device of its own; none where that is moot",
    ),
    "reference": Column("name", "`inline`: measured beside each prompt; `cached`: once"),
    "reference_hardware": Column(
        "name", "`own`: the target's; `all`: also measured on all that the decoder has"
    ),
    "engine": Column("text", "what computes the target; arguments of one that is not ours"),
    "cache": Column(
        "name", "what a decoder that looks up knows beside its prompt; none where it doesn't"
    ),
    "forward": Column("name", "how forwards are computed"),
    "fixed_window": Column("bool", "whether target forwards have fixed shapes"),
    "code": Column("digest", "of the sources that runs share"),
    "decoder_code": Column("digest", "of its decoder's; other ones are told apart in the label"),
    "commit": Column("digest", "the checkout they are of; nothing in itself"),
    "torch": Column("version", "of torch"),
    "transformers": Column("version", "of transformers"),
    "python": Column("version", "of Python"),
    "driver": Column("version", "of the NVIDIA driver"),
    # Figures.
    "prompts": Column("prompts", "decoded; each sample and each turn is one"),
    "timed_problems": Column(
        "problems", "that speeds are over: not the warm-up; a dialogue is one"
    ),
    "new_tokens": Column("tokens", "generated"),
    "tokens_per_second": Column("tokens/s", "total tokens over total time"),
    "reference_tokens_per_second": Column("tokens/s", "the same of the reference"),
    "mean_prompt_tokens_per_second": Column("tokens/s", "mean of the prompts' own speeds"),
    "reference_mean_prompt_tokens_per_second": Column("tokens/s", "the same of the reference"),
    "speedup": Column("×", "over the paired autoregressive reference"),
    "speedup_of_mean_speeds": Column("×", "of the means of the problems' own speeds"),
    "speedup_low": Column("×", "lower end of its 95 % interval"),
    "speedup_high": Column("×", "upper end of its 95 % interval"),
    "equal_hardware_tokens_per_second": Column(
        "tokens/s", "of the reference on all that the decoder computes on"
    ),
    "equal_hardware_speedup": Column("×", "over that one"),
    "equal_hardware_speedup_low": Column("×", "lower end of its 95 % interval"),
    "equal_hardware_speedup_high": Column("×", "upper end of its 95 % interval"),
    "tokens_per_second_per_device": Column("tokens/s", "for each core or GPU computed on"),
    "reference_tokens_per_second_per_device": Column("tokens/s", "the same of the reference"),
    "equal_hardware_tokens_per_second_per_device": Column(
        "tokens/s", "the same of the reference on all"
    ),
    "mean_accepted_tokens": Column("tokens", "mean length of runs of accepted tokens"),
    "acceptance_length": Column("tokens", "1 + accepted ÷ verifications; measures.md"),
    "acceptance_rate": Column("1", "accepted ÷ judged"),
    "tokens_per_target_forward": Column("tokens", "generated for each target forward"),
    "target_forwards": Column("forwards", "of the target"),
    "draft_forwards": Column("forwards", "of the draft model"),
    "ttft_seconds_p50": Column("s", "to a prompt's first token: median"),
    "ttft_seconds_p95": Column("s", "to a prompt's first token: 95th percentile"),
    "ttft_seconds_p99": Column("s", "to a prompt's first token: 99th percentile"),
    "tpot_seconds_p50": Column("s", "per token after the first: median"),
    "tpot_seconds_p95": Column("s", "per token after the first: 95th percentile"),
    "tpot_seconds_p99": Column("s", "per token after the first: 99th percentile"),
    "itl_seconds_p50": Column("s", "between a prompt's outputs, all gaps: median"),
    "itl_seconds_p95": Column("s", "between a prompt's outputs, all gaps: 95th percentile"),
    "itl_seconds_p99": Column("s", "between a prompt's outputs, all gaps: 99th percentile"),
    "wait_fraction_draft": Column("1", "of decoding time: the draft model waits for the target"),
    "wait_fraction_target": Column("1", "of decoding time: the target waits for the draft model"),
    "wasted_fraction": Column("1", "of drafted tokens: never accepted"),
    "overhead_fraction": Column("1", "of rounds' time: neither model runs"),
    "pre_verify_failure_rate": Column("1", "of pre-verify rounds: the first token is rejected"),
    "bytes_per_round": Column("bytes", "sent between the processes, both ways"),
    "target_flops_per_token": Column("operations", "of the target, for each generated token"),
    "draft_flops_per_token": Column("operations", "of the draft model"),
    "joules_per_token": Column("J", "for each generated token, where devices count energy"),
    "exact_match_rate": Column("1", "of outputs: the reference's own, token for token"),
    "ties": Column("prompts", "whose output differs within rounding"),
    "violations": Column("prompts", "whose output is not the target's"),
    "lossless": Column("bool", "no violation, and identical, tied, or sampled as the target does"),
    "accuracy": Column("1", "the task's own score"),
    "accuracy_low": Column("1", "lower end of its 95 % interval"),
    "accuracy_high": Column("1", "upper end of its 95 % interval"),
    "accuracy_name": Column("name", "what that score is called"),
    "reference_accuracy": Column("1", "the score of the reference's outputs"),
    "peak_memory_bytes": Column("bytes", "of all processes, and of the main one's GPUs"),
    "host": Column("name", "the machine"),
    "cpu_count": Column("CPUs", "it has"),
    "attempts": Column("times", "the run was begun"),
}
#: Those that are numbers.
NUMBERS = tuple(
    name
    for name, one in COLUMNS.items()
    if one.unit not in ("path", "name", "names", "JSON", "text", "digest", "bool", "version")
)
