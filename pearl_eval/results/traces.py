"""What the rounds of a run say: how tokens fared, where time went. Derived here and only here.

Reads a run's files and nothing else, so that whatever draws or reports a run, of whatever decoder,
derives its figures in one way.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from pearl_eval.errors import UserError
from pearl_eval.results.additions import (
    with_choices,
    with_comparisons,
    with_engine_times,
    with_foresight,
    with_retrieved,
)
from pearl_eval.results.formats import NAME, VERSION, known_version
from pearl_eval.results.latency import Latency, percentiles
from pearl_eval.results.records import KEY_FIELDS, RECORDS, ROUNDS, read_records
from pearl_eval.results.version_0_rounds import upgrade_rounds

#: What tells a prompt from the others of its run.
KEY = list(KEY_FIELDS)
#: Width of the pieces of text, in tokens, that acceptance is given for.
TEXT_STEP = 32
#: Kinds of chances that are told apart.
_CHANCES = 10
#: What is read of each record, and of each round.
_OF_RECORDS = [*KEY, "warmup", "seconds", "verdict", "output_ids", "new_tokens", "accepted_runs"]
_OF_RECORDS += ["speedup", "target_forwards", "draft_forwards"]
_OF_ROUNDS = [*KEY, "mode", "drafted", "judged", "accepted", "start", "verified_length"]
_OF_ROUNDS += ["draft_seconds", "target_seconds", "draft_start", "target_start", "busy_seconds"]
_OF_ROUNDS += ["drafted_ids", "drafted_at", "fates", "own_tokens"]


def write_rounds(rounds: pd.DataFrame, path: Path) -> None:
    """Write a ``rounds.parquet``."""
    table = pa.Table.from_pandas(rounds, preserve_index=False)
    metadata = table.schema.metadata | {NAME: str(VERSION)}
    parquet.write_table(table.replace_schema_metadata(metadata), path)


def read_rounds(directory: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """A run's ``rounds.parquet``, or some columns of it.

    :class:`UserError` if it is missing or damaged.
    """
    path = directory / ROUNDS
    try:
        with path.open("rb") as opened:
            file = parquet.ParquetFile(opened)
            version = known_version(
                int((file.schema_arrow.metadata or {}).get(NAME.encode(), 0)), path
            )
            # What version 1 has may follow from any of version 0.
            wanted = None if columns is None or version == 0 else list(columns)
            rounds = file.read(columns=wanted).to_pandas()
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: run it again") from error
    # What pyarrow raises of a damaged file may be either; one that can't be read is no damage.
    except (ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UserError(f"{path} is damaged ({error})") from error
    if version == 0:
        if "drafted_at" not in rounds:
            raise UserError(f"{directory}: its rounds are of an older version: run it again")
        records = read_records(directory / RECORDS)
        outputs = {(r["task_id"], r["sample"], r["turn"]): r["output_ids"] for r in records}
        rounds = upgrade_rounds(rounds, outputs)
    return rounds if columns is None else rounds[list(columns)]


@dataclass(frozen=True)
class Traces:
    """A run's ``records.jsonl`` and ``rounds.parquet`` as frames, and what follows from them.

    ``rounds`` has further columns: ``warmup``; ``length_before``, the tokens that were final before
    the round; ``wall``, its seconds up to the next round or the prompt's end; ``overhead``, those
    of them in which neither model ran; ``verified``, how many drafted tokens its target forward
    accepted, missing where that judged none; ``there``, when its tokens were there;
    ``accepted_before``, how many drafted tokens the round before accepted.

    What is counted in tokens or rounds counts the warm-up prompt too, what is timed leaves it out.
    What does not exist for a decoder is ``None`` or an empty frame.
    """

    records: pd.DataFrame
    rounds: pd.DataFrame

    @classmethod
    def of(cls, records: Iterable[dict[str, Any]], rounds: pd.DataFrame) -> Traces:
        """Traces of a run from its records and its rounds, as its files hold them."""
        frame = pd.DataFrame(list(records))
        prompts = frame[[*KEY, "warmup", "seconds"]]
        rounds = rounds.merge(prompts, on=KEY, how="left", validate="many_to_one")
        of_prompt = rounds.groupby(KEY)
        rounds["length_before"] = of_prompt["verified_length"].shift(fill_value=0)
        end = of_prompt["start"].shift(-1).fillna(rounds["seconds"])
        rounds["wall"] = end - rounds["start"]
        rounds["overhead"] = rounds["wall"] - rounds["busy_seconds"]
        # Earlier rounds do not say it.
        rounds["there"] = rounds["end"].where(rounds["end"] > 0, end) if "end" in rounds else end
        rounds = with_retrieved(
            with_foresight(with_choices(with_engine_times(with_comparisons(rounds))))
        )
        rounds["accepted_before"] = rounds.groupby(KEY)["accepted"].shift(fill_value=0)
        verified = (rounds["accepted"] - rounds["compared_accepted"]).astype(float)
        rounds["verified"] = verified.where(rounds["judged"] > rounds["compared"])
        return cls(_with_measures(frame, rounds), rounds.drop(columns="seconds"))

    @classmethod
    def read(cls, directory: Path) -> Traces:
        """Traces of the run in a directory.

        OSError where it has none, :class:`UserError` where its rounds are of the earliest there
        were, which did not say what was drafted, or its files are damaged or not all there.
        """
        records = list(read_records(directory / RECORDS))
        for number, record in enumerate(records, start=1):
            _refuse_lacking(_OF_RECORDS, record, f"{directory / RECORDS}, line {number},")
        rounds = read_rounds(directory)
        _refuse_lacking(_OF_ROUNDS, rounds.columns, str(directory / ROUNDS))
        return cls.of(records, rounds)

    @property
    def uses_both(self) -> bool:
        """Whether there are two models, which can wait for each other."""
        return all((self.rounds[name] > 0).any() for name in ("draft_seconds", "target_seconds"))

    @property
    def judges(self) -> bool:
        """Whether any drafted token was judged."""
        return bool(self.rounds["judged"].sum())

    def by_block_position(self) -> pd.DataFrame:
        """How the first, second … token of a judged block fared.

        A token is judged only where all before it in its block were accepted, so ``conditional``
        is accepted ÷ judged in its place: P(i accepted | those before it accepted). ``joint``,
        P(the first i accepted), is the product of these up to i, which holds for blocks of
        different lengths, too. ``position`` counts from 1.
        """
        judged, accepted = (self.rounds[name].to_numpy() for name in ("judged", "accepted"))
        positions = np.arange(1, judged.max(initial=0) + 1)
        frame = pd.DataFrame(
            {
                "position": positions,
                "judged": [int((judged >= i).sum()) for i in positions],
                "accepted": [int((accepted >= i).sum()) for i in positions],
            }
        )
        frame["conditional"] = frame["accepted"] / frame["judged"]
        frame["joint"] = frame["conditional"].cumprod()
        return frame

    def by_text_position(self, step: int = TEXT_STEP) -> pd.DataFrame:
        """Acceptance in pieces of ``step`` generated tokens, by where rounds began.

        ``start`` is the first token of the piece, from 0.
        """
        start = (self.rounds["length_before"] // step * step).rename("start")
        pieces = self.rounds.groupby(start)
        frame = pieces[["judged", "accepted"]].sum().reset_index()
        frame["acceptance_length"] = 1 + pieces["verified"].mean().to_numpy()
        frame = frame[frame["judged"] > 0].reset_index(drop=True)
        frame["rate"] = frame["accepted"] / frame["judged"]
        return frame

    def by_chance(self) -> pd.DataFrame:
        """How often tokens were accepted, by the chance that a decoder foresaw.

        ``low``, ``high``: bounds of the chances; ``predicted``: their mean; ``accepted``: how many
        of the ``judged`` tokens were. Empty where nothing was foreseen.
        """
        chances, accepted = list[float](), list[bool]()
        own = ["chances", "judged", "compared", "accepted", "compared_accepted"]
        for foreseen, judged, compared, right, agreed in self.rounds[own].itertuples(index=False):
            # Of those the forward was given it judged no more than the first wrong one.
            some = list(foreseen)[: judged - compared]
            chances += some
            accepted += [place < right - agreed for place in range(len(some))]
        edges = np.linspace(0, 1, _CHANCES + 1)
        kinds = np.digitize(chances, edges[1:-1])
        found = pd.DataFrame({"kind": kinds, "chance": chances, "accepted": accepted})
        frame = found.groupby("kind").agg(
            predicted=("chance", "mean"), judged=("chance", "size"), accepted=("accepted", "sum")
        )
        frame.insert(0, "low", edges[frame.index])
        frame.insert(1, "high", edges[frame.index + 1])
        return frame.reset_index(drop=True)

    def by_outcome(self) -> pd.DataFrame:
        """How often a draft was prepared for what had become of the one before.

        ``accepted``: how many tokens of that were; ``rounds``: how often it was so, and a draft was
        wanted next; ``fan_out``: for how many tokens after them one was prepared, on average;
        ``hits``: how often for the one that came. Empty where nothing is prepared.
        """
        wanted = self.rounds[self.rounds["outcomes"] > 0]
        frame = wanted.groupby("accepted_before").agg(
            rounds=("hit", "size"), fan_out=("fan_out", "mean"), hits=("hit", "sum")
        )
        return frame.rename_axis("accepted").reset_index()

    def verifications(self) -> list[int]:
        """How many tokens each verification accepted, as
        :func:`decoders.accepted_runs.verifications` has it."""
        return self.rounds["verified"].dropna().astype(int).tolist()

    def accepted_per_verification(self) -> list[int]:
        """How many verifications accepted 0, 1, 2 … tokens: the histogram that engines print."""
        return np.bincount(np.array(self.verifications(), dtype=int)).tolist()

    def acceptance_by_position(self) -> list[float]:
        """The share of verifications that accepted at least 1, 2, … tokens.

        It is what vLLM logs as its per-position acceptance rate. 1 + their sum is the acceptance
        length.
        """
        counts = self.accepted_per_verification()
        return [sum(counts[i:]) / sum(counts) for i in range(1, len(counts))]

    def latency(self) -> dict[str, float | None]:
        """Percentiles of times to tokens, by their names in ``summary.json``.

        Over prompts, those of gaps over all gaps of all prompts, without the warm-up.
        """
        timed = self.records[~self.records["warmup"].astype(bool)]
        rounds = self.rounds[~self.rounds["warmup"].astype(bool)]
        gaps = [gap for one in _latencies(rounds).values() for gap in one.gaps]
        return (
            percentiles("ttft_seconds", timed["ttft_seconds"].dropna())
            | percentiles("tpot_seconds", timed["tpot_seconds"].dropna())
            | percentiles("itl_seconds", gaps)
        )

    def run_lengths(self) -> pd.Series[int]:
        """How many runs of accepted tokens had each length."""
        lengths = self.records["accepted_runs"].explode().dropna().astype(int)
        return lengths.value_counts().sort_index()

    def mode_shares(self) -> dict[str, float]:
        """The share of rounds in each mode."""
        shares = self.rounds["mode"].value_counts(normalize=True, sort=False)
        return {str(mode): float(share) for mode, share in shares.items()}

    def pre_verify_failure_rate(self) -> float | None:
        """How often the first drafted token, judged while the rest is drafted, is rejected."""
        rows = self.rounds[(self.rounds["mode"] == "pre-verify") & (self.rounds["judged"] > 0)]
        return None if rows.empty else float((rows["accepted"] == 0).mean())

    def figures(self) -> dict[str, Any]:
        """The ``traces`` of ``summary.json``."""
        rounds = self.rounds
        timed = rounds[~rounds["warmup"].astype(bool)]
        tokens = self.records["new_tokens"].sum()
        drafted = int(rounds["drafted"].sum()) if self.judges else None
        wasted = int((rounds["drafted"] - rounds["accepted"]).sum()) if self.judges else None
        crosses = bool((rounds["bytes_sent"] > 0).any())

        def mean(column: str, exists: bool = True) -> float | None:
            # What no round knows has no mean.
            there = exists and timed[column].notna().any()
            return float(timed[column].mean()) if there else None

        def per_token(column: str) -> float | None:
            count = self.records[column].sum()
            return float(count / tokens) if count else None

        def of_choices(counts: pd.Series[int]) -> float | None:
            # Only who chooses how many to judge says how many there were.
            return float(counts.mean()) if rounds["at_hand"].any() else None

        foreseen = rounds[rounds["outcomes"] > 0]
        prepares = bool(rounds["branch_forwards"].any())

        def of_foresight(column: str) -> float | None:
            return None if foreseen.empty else float(foreseen[column].mean())

        offered = (rounds["target_tokens"] - 1).where(rounds["length_before"] > 0, 0)
        return {
            "rounds": len(rounds),
            "mode_shares": self.mode_shares(),
            "pre_verify_failure_rate": self.pre_verify_failure_rate(),
            "target_forwards_per_token": per_token("target_forwards"),
            "draft_forwards_per_token": per_token("draft_forwards"),
            "drafted_tokens": drafted,
            "wasted_tokens": wasted,
            "wasted_fraction": wasted / drafted if wasted is not None and drafted else None,
            "wait_draft_seconds_per_round": mean("wait_draft_seconds", self.uses_both),
            "wait_target_seconds_per_round": mean("wait_target_seconds", self.uses_both),
            "overhead_seconds_per_round": mean("overhead"),
            "overhead_fraction": (
                float(timed["overhead"].sum() / timed["wall"].sum())
                if timed["overhead"].notna().any()
                else None
            ),
            "bytes_per_round": float(rounds["bytes_sent"].mean()) if crosses else None,
            "accepted_run_lengths": {str(k): int(n) for k, n in self.run_lengths().items()} or None,
            "verifications": len(self.verifications()) or None,
            "accepted_per_verification": self.accepted_per_verification() or None,
            "acceptance_by_position": self.acceptance_by_position() or None,
            "awaited_tokens_per_round": of_choices(rounds["awaited"]),
            "unjudged_tokens_per_round": of_choices((rounds["at_hand"] - offered).clip(lower=0)),
            "by_chance": _rows(self.by_chance()),
            "hit_rate": of_foresight("hit"),
            "outcomes_per_round": of_foresight("outcomes"),
            "branch_tokens_per_round": (
                float(rounds["branch_tokens"].mean()) if prepares else None
            ),
            "branch_seconds_per_round": mean("branch_seconds", prepares),
            "by_outcome": _rows(self.by_outcome()),
            "by_block_position": _rows(self.by_block_position()),
            "by_text_position": _rows(self.by_text_position()),
        }


def _refuse_lacking(names: Iterable[str], there: Container[str], what: str) -> None:
    lacking = [name for name in names if name not in there]
    if lacking:
        raise UserError(f"{what} is damaged (it lacks {lacking[0]!r})")


def _latencies(rounds: pd.DataFrame) -> dict[object, Latency]:
    """By the key of each prompt."""
    return {
        key: Latency.of(own["there"].tolist(), own["verified_length"].tolist())
        for key, own in rounds.groupby(KEY)
    }


def _with_measures(records: pd.DataFrame, rounds: pd.DataFrame) -> pd.DataFrame:
    """Records with what those of earlier runs lack of what follows from their rounds."""
    if "verifications" in records and records["verifications"].notna().all():
        return records
    known = _latencies(rounds)
    keys = [tuple(key) for key in records[KEY].itertuples(index=False)]
    found = [known.get(key, Latency(None, None, ())) for key in keys]
    accepted = rounds.dropna(subset="verified").groupby(KEY)["verified"]
    lists = {key: own.astype(int).tolist() for key, own in accepted}
    times = pd.DataFrame([one.figures() for one in found], index=records.index, dtype=float)
    return records.assign(
        verifications=pd.Series([lists.get(key, []) for key in keys], records.index, object),
        **{str(name): times[name] for name in times},
    )


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]] | None:
    """The rows of a frame as JSON has them; ``None`` where there are none."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{str(k): v for k, v in row.items()} for row in rows] or None
