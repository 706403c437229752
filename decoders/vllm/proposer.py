"""PEARL as a proposer of drafted tokens that vLLM makes use of by itself."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from decoders.adaptive.drafts import NEVER, Situation
from decoders.process.channel import Message
from decoders.process.clock import clock
from decoders.process.drafter import check_confidence, check_seconds, check_tokens
from decoders.vllm.draft import DraftLost, DraftProcess
from decoders.vllm.drafting import DRAFTED, STEP
from decoders.vllm.expansion import mend
from decoders.vllm.patience import Patience, StepPolicy
from decoders.vllm.settings import AUTO, PearlSettings
from decoders.vllm.texts import Changes, ServedText, ServedTexts

if TYPE_CHECKING:
    from vllm.config import VllmConfig

#: How many steps' time is waited for drafts at most, where it is chosen how long is waited.
_MOST_STEPS = 2.0
#: And by how many draft forwards later than expected the next token may be: one that is later than
#: that is taken to be late for long, as of a process that is not let run.
_LATE = 4.0
#: Steps of which it is kept what was done in them, where nobody asks.
_LOGGED = 8192


class _Step(NamedTuple):
    """A step of the target: what each row gained, and the texts with it."""

    sampled: Sequence[Sequence[int]]
    lengths: list[int]
    tokens: Any


class _Waited(NamedTuple):
    """When the target waited for drafts, if it did."""

    start: float = 0.0
    seconds: float = 0.0


class _Last(NamedTuple):
    """The token that was drafted last of a text, and when the draft process had drafted last."""

    ended: float
    confidence: float


class PearlProposer:
    """What vLLM calls for drafted tokens, with ``"method": "custom_class"``.

    The draft model is in a process of its own, which drafts on while the target verifies. After
    each step of the target this tells it what became of the texts, and hands over what it has
    drafted, as far as it agrees.

    Without ``gamma`` neither waits for the other, as in ``pearl_async``, but that a step waits for
    some drafted tokens where it pays. With ``gamma`` it is the paper's form: while the target
    verifies what is pending of a text, the draft model makes γ tokens more, and the step is over
    once both are done. The first of the new ones is judged by the token that the target chooses
    itself after what is pending. If all of that was accepted, and the first one too, the γ - 1
    others are pending (post-verify); else none is (pre-verify), and the next step of the target
    judges the first one alone while the rest is drafted.

    Two things differ from our own ``pearl``. vLLM has the target choose a token after those that
    are accepted, which PEARL does not: here that token is what judges the first new one, and where
    that is wrong, it has taken its place already. And vLLM can't be told which distribution a token
    was drafted from; it accepts a drafted token x with the probability p(x) that the target gives
    it. That is exact for a draft that does not depend on the target's coming draws, as here, where
    the most probable token is drafted: then the draft's own distribution is all at x.

    Nothing of a text is kept once a step goes by without it. A draft process that is gone, or
    silent, or can't be understood, is given up: there is one warning, and no more drafts.

    Raises :class:`SettingsError` where the settings, in ``additional_config.pearl``, are wrong.
    """

    def __init__(self, config: VllmConfig) -> None:
        assert config.speculative_config is not None
        self._settings = PearlSettings.of(config)
        self._config = config
        self._most: int = config.speculative_config.num_speculative_tokens
        self._longest: int = config.model_config.max_model_len
        texts = config.scheduler_config.max_num_seqs
        self._texts = ServedTexts(min(texts, self._settings.texts or texts), self._longest)
        self._by_number: dict[int, ServedText] = {}
        self._draft: DraftProcess | None = None
        self._policy = StepPolicy(self._most)
        #: What it decided last, and for which texts.
        self._decided: tuple[list[ServedText], Patience] | None = None
        #: When this was called for the present step, when the draft process was last told what has
        #: changed, and when it had last drafted.
        self._called = self._told = self._ended = 0.0
        #: Until when the next token is waited for, where it is chosen how long is waited.
        self._due = 0.0
        self._log: deque[dict[str, Any]] = deque(maxlen=_LOGGED)
        #: Tokens published since the last step, by the number of their text.
        self._fresh: dict[int, list[tuple[int, int, int, float, float, float]]] = {}
        self._failed: str | None = None
        #: When the last call was over; since when the draft process owes an answer.
        self._returned: float | None = None
        self._asked: float | None = None

    def load_model(self, target: Any) -> None:
        """Start the draft process and wait until its model is loaded; vLLM calls this."""
        if mend():
            _logger().warning(
                "vLLM loses temperatures, top-k and top-p of drafted tokens on this CPU"
                " (_expand_kernel_impl): PEARL has mended that in this process"
            )
        parallel = self._config.parallel_config
        if parallel.rank % parallel.tensor_parallel_size:
            # The drafts that count are those of the first rank.
            return
        model = self._config.model_config
        settings = self._settings
        dtype = settings.dtype or str(model.dtype).removeprefix("torch.")
        try:
            self._draft = DraftProcess(
                settings, self._device(), dtype, model.get_vocab_size(), model.trust_remote_code
            )
            self._draft.wait_ready()
            self._longest = min(self._longest, self._draft.longest)
        except (DraftLost, OSError) as error:
            self._give_up(str(error))

    def propose(
        self,
        sampled_token_ids: Sequence[Sequence[int]],
        num_tokens_no_spec: Any,
        token_ids_cpu: Any,
        slot_mappings: Any = None,
        **others: Any,
    ) -> list[list[int]]:
        """Drafted tokens to verify in the next step, for each row; vLLM calls this.

        Parameters
        ----------
        sampled_token_ids
            The tokens that each row gained in the last step; none where a prompt is being read.
        num_tokens_no_spec
            Length of each row's text, with those.
        token_ids_cpu
            ``[rows, any]``: the texts.
        """
        handed: list[list[int]] = [[] for _ in sampled_token_ids]
        if self._draft is None and self._failed is None:
            # Of another rank.
            return handed
        start, waited = clock(), _Waited()
        rows: list[dict[str, Any]] = []
        try:
            lengths = [int(length) for length in num_tokens_no_spec[: len(handed)]]
            rows = [{"length": length, "handed": [], "drafted": []} for length in lengths]
            if self._draft is not None:
                step = _Step(sampled_token_ids, lengths, token_ids_cpu)
                waited = self._propose(self._draft, step, start, handed, rows)
        except DraftLost as error:
            self._give_up(str(error))
        except Exception as error:
            # A request must not fail because its drafts do.
            self._give_up(f"{type(error).__name__} in propose: {error}")
        if self._failed is not None:
            handed = [[] for _ in sampled_token_ids]
        for row, tokens in zip(rows, handed, strict=False):
            row["handed"] = tokens
        end = clock()
        self._returned = end
        self._log.append(
            {
                "start": start,
                "seconds": end - start,
                "waited": waited.seconds,
                "wait_start": waited.start,
                "rows": rows,
                "failed": self._failed,
            }
        )
        return handed

    def take_log(self) -> list[dict[str, Any]]:
        """What was done since this was last asked, a dictionary for each call of ``propose``.

        ``start``; ``seconds``, of which ``waited`` for drafts, from ``wait_start`` on (0 if it did
        not wait); ``rows``, each with its ``length``, what was ``handed`` and what was ``drafted``
        for it since the last call: lineage, position, token, how probable the draft model found it
        (1 if it was not asked), seconds of the forward and its start; where it is decided how many
        are handed over, ``at_hand`` of so many, ``awaited`` of them waited for, and the ``chances``
        of those handed over. ``failed``: why there are no more drafts, if so. The latest 8192 are
        kept.
        """
        taken = list(self._log)
        self._log.clear()
        return taken

    @property
    def pid(self) -> int | None:
        """Process id of the draft process, where there is one."""
        return None if self._draft is None else self._draft.pid

    def close(self) -> None:
        """End the draft process. It ends by itself with the process that has started it."""
        if self._draft is not None:
            self._draft.close()
            self._draft = None

    def _propose(
        self,
        draft: DraftProcess,
        step: _Step,
        start: float,
        handed: list[list[int]],
        rows: list[dict[str, Any]],
    ) -> _Waited:
        """Fill in what is handed over, and what is logged; gives when it waited."""
        self._called = start
        self._read(draft)
        waited, self._decided, found = _Waited(), None, dict[int, int]()
        if self._settings.gamma is not None:
            # The step is over once both are done.
            waited = self._wait(draft, self._is_short)
        texts, changes = self._texts.step(step.sampled, step.lengths, step.tokens)
        self._by_number = {text.number: text for text in self._texts}
        self._measure(start, step, changes)
        if self._settings.gamma is None:
            self._tell(draft, changes)
            self._read(draft)
            self._settle()
            found = {text.number: len(text.pending) for text in self._texts}
            # A draft process that was not let run must not hold up the target.
            patient = self._settings.wait != AUTO
            limit = None if patient else _MOST_STEPS * self._policy.step(len(found), 0)
            waited = self._wait(draft, self._is_worth_it, limit)
        self._settle()
        decisions = self._decisions()
        for row, (text, gained) in enumerate(zip(texts, step.sampled, strict=True)):
            if text is not None and gained:
                pending = text.pending
                judged, chances = decisions.get(text.number, (self._most, []))
                text.handed = pending[:judged]
                handed[row] = list(text.handed)
                rows[row]["drafted"] = self._fresh.get(text.number, [])
                if text.number in decisions:
                    rows[row]["at_hand"] = len(pending)
                    rows[row]["awaited"] = len(pending) - found[text.number]
                    rows[row]["chances"] = list(chances[:judged])
        if self._settings.gamma is not None:
            self._tell(draft, changes)
        self._fresh = {}
        return waited

    def _measure(self, start: float, step: _Step, changes: Changes) -> None:
        """What the step took, if it did nothing but go on with the same texts as the last one."""
        same = not changes.begun and not changes.over and all(step.sampled)
        if self._returned is not None and same:
            judged = [len(text.handed) for text in self._texts]
            self._policy.stepped(start - self._returned, len(judged), sum(judged))

    def _read(self, draft: DraftProcess) -> None:
        """Take in what was drafted; DraftLost where nothing was for too long."""
        while (message := draft.receive_now(DRAFTED)) is not None:
            self._take(draft, message)
        silent = 0.0 if self._asked is None else clock() - self._asked
        if silent > self._settings.answer_timeout:
            raise draft.lost(f"was silent for {silent:.1f} s")

    def _wait(
        self, draft: DraftProcess, is_wanted: Callable[[], bool], limit: float | None = None
    ) -> _Waited:
        """Take in what is drafted as long as more of it is wanted; gives when that was.

        For ``limit`` seconds at most, if there is a limit, and then not beyond what is due.
        """
        start: float | None = None
        while is_wanted():
            start = clock() if start is None else start
            if limit is None:
                self._take(draft, draft.receive(DRAFTED))
                continue
            left = min(start + limit, self._due) - clock()
            message = draft.receive_within(DRAFTED, left) if left > 0 else None
            if message is None:
                break
            self._take(draft, message)
        return _Waited() if start is None else _Waited(start, clock() - start)

    def _is_short(self) -> bool:
        """Whether the draft model has not done yet what it was asked for."""
        return any(text.reach < text.limit for text in self._texts)

    def _is_worth_it(self) -> bool:
        """Whether to wait for more drafts; never while a new text is being read."""
        self._settle()
        texts = [text for text in self._texts if text.is_read]
        wait = self._settings.wait
        if not isinstance(wait, str):
            going_on = (one for one in texts if max(one.reach, one.length) < one.limit)
            return any(len(one.pending) < wait for one in going_on)
        now = clock()
        situations = [self._situation(text, now) for text in texts]
        decision = self._policy.decide(situations)
        self._decided = texts, decision
        soonest = min((one.arrival for one in situations), default=NEVER)
        self._due = now + soonest + _LATE * self._policy.waiting
        return decision.awaited > 0

    def _situation(self, text: ServedText, now: float) -> Situation:
        """What there is of a text that the draft model has read."""
        return self._policy.situation(
            text.confidences(text.length, len(text.pending)),
            text.length - text.base,
            _Last(self._ended, text.latest),
            text.parted,
            text.limit - text.length,
            self._told,
            now,
        )

    def _decisions(self) -> dict[int, tuple[int, Sequence[float]]]:
        """How many tokens to hand over of each text for which that was decided, by its number; and
        their chances."""
        if self._decided is None:
            return {}
        texts, (judged, _, chances) = self._decided
        decided = zip(texts, judged, chances, strict=True)
        return {text.number: (count, own) for text, count, own in decided}

    def _take(self, draft: DraftProcess, message: Message) -> None:
        """Take in a message of drafted tokens."""
        self._asked = None
        with draft.understood():
            _, start, seconds, drafted = message
            check_seconds(start, seconds)
            self._ended = start + seconds
            going = [self._by_number.get(number) for number, *_ in drafted]
            if any(text is not None and text.is_read for text in going):
                # Not where it has read a new text, which takes longer.
                self._policy.drafted(seconds, start < self._called)
            for number, lineage, position, token, confidence in drafted:
                check_tokens([token], draft.vocab_size)
                check_confidence(confidence)
                text = self._by_number.get(number)
                if text is None:
                    # It is over.
                    continue
                text.publish(lineage, position, token, confidence)
                self._fresh.setdefault(number, []).append(
                    (lineage, position, token, confidence, seconds, start)
                )

    def _settle(self) -> None:
        for text in self._texts:
            start = text.compared
            agreed, parted = text.settle()
            place = start - text.base
            if agreed or parted:
                before = text.confidences(start - 1, 1)[0] if place else None
                confidences = text.confidences(start, agreed + parted)
                self._policy.verified(confidences, place, before, agreed)

    def _tell(self, draft: DraftProcess, changes: Changes) -> None:
        """Let the draft process know what has changed."""
        for text in self._texts:
            ahead = self._settings.ahead
            if self._settings.gamma is not None:
                ahead = len(text.handed) + self._settings.gamma
            text.limit = min(text.length + ahead, self._longest)
        self._told = clock()
        draft.send(
            (
                STEP,
                [text.number for text in changes.over],
                [(text.number, text.as_bytes(), text.limit) for text in changes.begun],
                [
                    (text.number, update, start, tokens, text.limit)
                    for text, update, start, tokens in changes.updates
                ],
            )
        )
        if self._asked is None and self._is_short():
            self._asked = clock()

    def _give_up(self, reason: str) -> None:
        """No more drafts, of which there is one warning."""
        self._failed = reason
        if self._draft is not None:
            self._draft.kill()
            self._draft = None
        _logger().warning("PEARL: %s; vLLM goes on without drafts", reason)

    def _device(self) -> str:
        """Where the draft model is to be."""
        if self._settings.device != AUTO:
            return self._settings.device
        if self._config.device_config.device_type == "cpu":
            return "cpu"
        import torch

        parallel = self._config.parallel_config
        there, taken = torch.cuda.device_count(), parallel.world_size
        return f"cuda:{taken if taken < there else torch.cuda.current_device()}"


def _logger() -> logging.Logger:
    """vLLM's, whose messages are seen."""
    try:
        from vllm.logger import init_logger
    except ImportError:
        return logging.getLogger("vllm.pearl")
    return init_logger("vllm.pearl")
