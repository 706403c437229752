"""Files of version 0, which say no version, in the shape of version 1.

What a run left grew over time, so the earliest may lack much. Each function here takes what was
read of one kind of file and gives it back with all that version 1 has. Rounds have a module of
their own, ``version_0_rounds``.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pearl_eval.results.about import about_decoder

Content = TypeVar("Content", bound="dict[str, Any]")

#: Begins a digest of code that was made otherwise than today's, so that the two can't be compared.
OTHER_DIGEST = "version 0: "
#: What the earliest lack, as it is where there is nothing to tell.
_SUMMARY: dict[str, Any] = {
    "by_category": None,
    "cost": {},
    "data": None,
    "decoder_settings": {},
    "runner_up_pass_rate": None,
    "sampled_tokens": None,
    "sampling_p_value": None,
}
_TRACES = """rounds pre_verify_failure_rate target_forwards_per_token draft_forwards_per_token
    drafted_tokens wasted_tokens wasted_fraction wait_draft_seconds_per_round
    wait_target_seconds_per_round overhead_seconds_per_round overhead_fraction bytes_per_round
    accepted_run_lengths by_block_position by_text_position"""
_ENVIRONMENT = dict.fromkeys(("dtype", "git_commit", "target_parallel")) | {"versions": {}}
_RECORD = {"tie": "", "runner_up_pass_rate": None}
#: Modules that configurations named, and where what they named is now.
_MOVED = {
    "decoders.sampler": "decoders.sampling.sampler",
    "decoders.temperature": "decoders.sampling.temperature",
}
#: Settings that there are no more, with the values that made no difference.
_GONE = {"runtime.tensor_parallel": 1}
#: Settings that there were not, with what they are when nothing is said.
_NEW = {"reference.hardware": "own"}
#: What ``runtime.forward`` called a way of computing forwards, and what it calls that now.
_FORWARDS = {"compiled": "cuda_graphs"}


def upgrade_summary(summary: Content) -> Content:
    """Of ``summary.json``."""
    _fill(summary, _SUMMARY)
    _fill(summary.setdefault("traces", {}), dict.fromkeys(_TRACES.split()) | {"mode_shares": {}})
    environment = summary["environment"]
    _fill(environment, _ENVIRONMENT)
    if "forward" in environment:
        environment["forward"] = _FORWARDS.get(environment["forward"], environment["forward"])
    if "decoder_about" not in summary:
        about = about_decoder(summary["decoder"], summary["decoder_settings"])
        summary["decoder_about"] = about
    if "lossy" not in summary:
        # Told from the outputs that are the target's, if all had to be.
        others = round(summary["exact_match_rate"] * summary["prompts"])
        others += summary["ties"] + summary["violations"]
        summary["lossy"] = 0 if summary["sampled_tokens"] else summary["prompts"] - others
    return summary


def upgrade_record(record: Content) -> Content:
    """Of a line of ``records.jsonl``."""
    _fill(record, _RECORD)
    return record


def upgrade_identity(about: Content) -> Content:
    """Of ``run.json``, and of the first line of cached references, which both hold an identity.

    Its digest of the code was over every source there was.
    """
    identity = about.get("identity")
    if not isinstance(identity, dict):
        return about
    for name, value in _GONE.items():
        if identity.get(name) == value:
            del identity[name]
    # A cached reference's has no such settings.
    if "reference.mode" in identity:
        _fill(identity, _NEW)
    for name, value in identity.items():
        if name == "code":
            identity[name] = f"{OTHER_DIGEST}{value}"
        elif name == "runtime.forward":
            identity[name] = _FORWARDS.get(value, value)
        elif name.endswith("._target_"):
            module, _, what = value.rpartition(".")
            identity[name] = f"{_MOVED.get(module, module)}.{what}"
    return about


def upgrade_override(override: str) -> str:
    """Of a command line that started a run or a sweep; empty if there is no need to say it."""
    name, equals, values = override.partition("=")
    if values == str(_GONE.get(name)):
        return ""
    if name not in ("runtime", "runtime.forward"):
        return override
    return name + equals + ",".join(_FORWARDS.get(one, one) for one in values.split(","))


def _fill(content: dict[str, Any], defaults: dict[str, Any]) -> None:
    for name, value in defaults.items():
        content.setdefault(name, value)
