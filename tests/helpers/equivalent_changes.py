"""Changes that ``mutation.py`` has made and that change nothing anyone could see, and why.

A file, the line as it was, and as it was made: what is listed here is left out of the score.
"""

from __future__ import annotations

_DISTRIBUTION = "pearl_eval/checks/distribution.py"

_FORWARDS = "pearl_eval/simulation/forwards.py"
_BELOW = "below the smallest window a forward takes as long as there"

EQUIVALENT: list[tuple[str, str, str, str]] = [
    (
        _DISTRIBUTION,
        "_RANK_CELLS = len(_RANKS) + 1",
        "_RANK_CELLS = len(_RANKS) + 2",
        "there are cells that no token enters, and such are left out",
    ),
    (
        _DISTRIBUTION,
        "quantile = p.cumsum(-1) - p / 2 - 0.5",
        "quantile = p.cumsum(- 0) - p / 2 - 0.5",
        "p has but one dimension",
    ),
    (
        "pearl_eval/results/traces.py",
        "positions = np.arange(1, judged.max(initial=0) + 1)",
        "positions = np.arange(1, judged.max(initial= -1) + 1)",
        "from 1 to 0 there is as little as from 1 to 1",
    ),
    *(
        (
            "decoders/draft_length.py",
            "_FILLER = 1",
            f"_FILLER = {other}",
            "how long a forward takes does not depend on its tokens",
        )
        for other in (0, 2)
    ),
    (
        "pearl_eval/tracking/metrics.py",
        "for step in itertools.count(2)",
        "for step in itertools.count( 1)",
        "all prompts are more than what is asked for, else none would be left out",
    ),
    *(
        (
            _FORWARDS,
            "return cls((1,), (0,), ((seconds,),))",
            f"return cls({other}, ((seconds,),))",
            "whatever the one point is, it is taken for all",
        )
        for other in ("( 2,), (0,)", "( 0,), (0,)", "(1,), ( -1,)", "(1,), ( 1,)")
    ),
    (
        _FORWARDS,
        "return self.target(1, 0) / self.draft(1, 0)",
        "return self.target( 0, 0) / self.draft(1, 0)",
        _BELOW,
    ),
    (
        _FORWARDS,
        "alone = [n * draft(1, context) + target(n + 1, context) for n in lengths]",
        "alone = [n * draft( 0, context) + target(n + 1, context) for n in lengths]",
        _BELOW,
    ),
    *(
        (
            "tasks/sandbox/inside/namespaces.py",
            "for capability in range(64):",
            f"for capability in range( {other}):",
            "Linux has 41, and refuses the rest",
        )
        for other in (63, 65)
    ),
    *(
        (
            "analysis/paper/paper_tables.py",
            "figures = dict.fromkeys(names, -1)",
            f"figures = dict.fromkeys(names, {other})",
            "less is better, by whatever it is multiplied",
        )
        for other in ("~1", "- 2")
    ),
    (
        "pearl_eval/checks/rounding.py",
        "if begin <= len(read) < len(text) and read == text[: len(read)]:",
        "if begin <= len(read) != len(text) and read == text[: len(read)]:",
        "what is longer than the text is none of its beginnings",
    ),
    (
        "decoders/sampling/temperature.py",
        "if top_p < 1.0:",
        "if top_p < 2.0:",
        "of all the probability nothing is cut off but tokens that have none",
    ),
    (
        "pearl_eval/results/records.py",
        "if version == 0:",
        "if version <= 0:",
        "there is no version below 0",
    ),
    (
        "tasks/sandbox/inside/warden.py",
        "if judging == 0:",
        "if judging <= 0:",
        "a fork gives no number below 0",
    ),
    (
        "pearl_eval/tracking/metrics.py",
        "if (prompt % step == 0).sum() <= limit or step > prompt.max()",
        "if (prompt % step <= 0).sum() <= limit or step > prompt.max()",
        "what is left of a division is not below 0",
    ),
    (
        "pearl_eval/simulation/acceptance.py",
        'right = np.where(recorded == ord("-"), drawn, recorded == ord("1"))',
        'right = np.where(recorded == ord("-"), drawn, recorded >= ord("1"))',
        "a trace has no sign beyond 1",
    ),
    (
        "analysis/frames/frame.py",
        "if not any(len(own) < len(other) and own.index.isin(other.index).all()"
        " for other in whole)",
        "if not any(len(own) is not len(other) and own.index.isin(other.index).all()"
        " for other in whole)",
        "what is all in another, and not as long, is shorter",
    ),
    (
        "pearl_eval/evaluation/plan.py",
        "last = pair.prompt(problem, [_SOME_ANSWER] * (turns - 1)) if turns > 1 else first",
        "last = pair.prompt(problem, [_SOME_ANSWER] * (turns - 1)) if turns > 0 else first",
        "the last prompt of a single turn is the first",
    ),
]
