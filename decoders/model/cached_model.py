"""One cached-model class over a transformers causal language model."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import PreTrainedModel

from decoders.model.architecture import Architecture
from decoders.model.cache import RollbackCache
from decoders.model.cuda_graphs import WIDEST, StaticForward
from decoders.model.fused import FusedForward
from decoders.model.reading import Event, Kept, Reading, TreeReading
from decoders.model.tree import ROOT, Tree
from decoders.model.waiting import wait_for
from decoders.model.weights import WeightBytes
from decoders.model.widening import WIDER, widened

#: Tokens a cache has room for before it first grows.
INITIAL_CAPACITY = 1024
#: Attention implementations of transformers that take any mask.
_MASKED_ATTENTION = ("eager", "sdpa")


class CachedModel:
    """A causal language model with a key/value cache that can be extended and rolled back.

    Parameters
    ----------
    model
        A transformers causal LM, not one that is ``unfit``: see :mod:`decoders.model.architecture`.
    vocab_size
        Number of token ids, from 0 on, that the model may produce. Logits beyond it, as of padded
        embeddings, are cut off.
    known
        Number of those that the model itself knows, if fewer: a draft model's vocabulary may be
        shorter than its target's. The others have logit -inf, and one that is read is read as
        token 0, which can only cost a draft model acceptance.
    """

    def __init__(
        self, model: PreTrainedModel, vocab_size: int | None = None, known: int | None = None
    ) -> None:
        config = model.config.get_text_config()
        self.model = model.eval()
        self.device = model.device
        # A model that is spread by layers has more than the one its tokens go to.
        self._devices = {weights.device for weights in model.parameters()}
        self.vocab_size = vocab_size or config.vocab_size
        self._known = self.vocab_size if known is None else known
        self.architecture = Architecture.of(config, type(model))
        self.cache = RollbackCache(config.num_hidden_layers, INITIAL_CAPACITY)
        #: Whether the cache is of a text that is longer than the architecture's ``rope_switch``.
        self._beyond_switch = False
        #: Whether each call is one forward of the tokens it adds.
        self.one_forward = self.architecture.rope_switch is None
        self._fused: FusedForward | None = None
        self._weight_bytes: WeightBytes | None = None
        #: Tokens that forwards have read since ``take_tokens``.
        self._tokens = 0
        #: What was read of the text since its beginning: rolling back to 0 begins a new one.
        self.events: list[Event] = []

    def take_tokens(self) -> int:
        """How many tokens forwards have read since this was last asked."""
        tokens, self._tokens = self._tokens, 0
        return tokens

    def fuse(self, static: bool = False) -> None:
        """Compute forwards in fewer operations from now on: see :mod:`decoders.model.fused`.

        ``static``: those of few tokens in fixed shapes, see :mod:`decoders.model.cuda_graphs`.
        Raises ValueError where that can't be.
        """
        # Fused layers have theirs in another order, some of them twice.
        self._weight_bytes = self.weight_bytes
        self._fused = StaticForward(self.model) if static else FusedForward(self.model)

    @property
    def weight_bytes(self) -> WeightBytes:
        """Bytes of its weights as they were loaded."""
        return self._weight_bytes or WeightBytes.of(self.model)

    def beside(self, cache: RollbackCache) -> CachedModel:
        """The same model, weights and layers, at a text of its own, with an empty ``cache``."""
        other = copy.copy(self)
        other.cache, other.events, other._tokens, other._beyond_switch = cache, [], 0, False
        return other

    @torch.inference_mode()
    def prepare(self, windows: Iterable[int], start: int, end: int) -> None:
        """Make ready for a text, so that none of it is done while the text is timed.

        Where forwards have fixed shapes, those that will come up are recorded; else there is
        nothing to do. The cache is empty afterwards.

        Parameters
        ----------
        windows
            How many tokens forwards will read, but for the one that reads the prompt.
        start, end
            Length of the prompt, and of the whole text at most.
        """
        if not self.fixed_shapes:
            return
        assert isinstance(self._fused, StaticForward)
        ids = torch.zeros(1, WIDEST, dtype=torch.long, device=self.device)
        self.rollback(0)
        if not self.cache.layers[0].is_initialized:
            self._fused(ids[:, :1], self.cache, logits_to_keep=1)
            self.rollback(0)
        self._fused.prepare(windows, start, end, ids, self.cache)

    @property
    def forward(self) -> str:
        """How forwards are computed: ``transformers``, ``fused`` or ``cuda_graphs``."""
        if self._fused is None:
            return "transformers"
        return "cuda_graphs" if self.fixed_shapes else "fused"

    @property
    def fixed_shapes(self) -> bool:
        """Whether forwards of few tokens have fixed shapes, which ``prepare`` sets up."""
        return isinstance(self._fused, StaticForward)

    @property
    def length(self) -> int:
        """Number of tokens in the cache."""
        return self.cache.length

    def rollback(self, length: int) -> None:
        """Forget every token from position ``length`` on; a length not yet reached is no change."""
        if length == 0:
            self.events = []
        self._rollback(length)

    def _rollback(self, length: int) -> None:
        if length < self.cache.length:
            self.cache.rollback(length)

    @torch.inference_mode()
    def extend(self, tokens: Sequence[int], rows: int) -> torch.Tensor:
        """Run one forward over the tokens the cache has not seen.

        Parameters
        ----------
        tokens
            The whole text from its first token; its first ``length`` ids are taken as seen.
        rows
            For how many of the last positions logits are wanted, at most the number of unseen ones.

        Returns
        -------
        Logits, ``[rows, vocab_size]``, in the model's dtype.
        """
        unseen = list(tokens[self.cache.length :])
        if not 1 <= rows <= len(unseen):
            raise ValueError(f"{rows} rows of logits asked of {len(unseen)} unseen tokens")
        self.events.append(Reading(self.cache.length, unseen, rows))
        return self._extend(tokens, rows)

    def _extend(self, tokens: Sequence[int], rows: int) -> torch.Tensor:
        switch = self.architecture.rope_switch
        if switch is not None and len(tokens) - rows < switch < len(tokens):
            beyond = len(tokens) - switch
            within = self._extend(tokens[:switch], rows - beyond)
            return torch.cat([within, self._extend(tokens, beyond)])
        unseen = self._unseen(tokens, len(tokens))
        read = [(i, tokens[i]) for i in range(len(tokens) - rows, len(tokens))]
        return self.predictions(self.run(unseen, logits_to_keep=rows), read)

    @torch.inference_mode()
    def extend_tree(self, tokens: Sequence[int], tree: Tree, nodes: Sequence[int]) -> torch.Tensor:
        """Run one forward over the unseen tokens and a tree that starts at the last of them.

        Whatever comes next, ``keep`` or ``rollback`` must first settle what stays of the tree.

        Parameters
        ----------
        tokens
            The whole text, as for ``extend``.
        tree
            What follows it.
        nodes
            Nodes of the tree after which logits are wanted; ``ROOT`` is the text's last token.

        Returns
        -------
        Logits, ``[len(nodes), vocab_size]``, in the model's dtype.
        """
        if not len(tokens) > self.cache.length:
            raise ValueError("a tree needs at least one unseen token to start from")
        self._check_reads_trees()
        longest = len(tokens) + max(tree.depths, default=0)
        switch = self.architecture.rope_switch
        if switch is not None and len(tokens) <= switch < longest:
            raise ValueError(f"a tree of texts of up to {longest} tokens, across {switch}")
        unseen = list(tokens[self.cache.length :])
        self.events.append(TreeReading(self.cache.length, unseen, tree, list(nodes)))
        return self._extend_tree(tokens, tree, nodes)

    @property
    def _attention(self) -> str:
        """The attention implementation of transformers that it has."""
        return str(self.model.config.get_text_config()._attn_implementation)

    @functools.cached_property
    def reads_trees(self) -> bool:
        """Whether one forward can read several continuations of any text."""
        limited = self.architecture.no_trees or self.architecture.rope_switch is not None
        return self._attention in _MASKED_ATTENTION and not limited

    def _check_reads_trees(self) -> None:
        attention = self._attention
        if attention not in _MASKED_ATTENTION:
            raise ValueError(f"attention {attention!r} reads no trees, only {_MASKED_ATTENTION}")
        if self.architecture.no_trees:
            kind, reason = self.architecture.name, self.architecture.no_trees
            raise ValueError(f"a {kind} model reads no trees: {reason}")

    def _extend_tree(self, tokens: Sequence[int], tree: Tree, nodes: Sequence[int]) -> torch.Tensor:
        unseen = self._unseen(tokens, len(tokens) + max(tree.depths, default=0))
        # Nothing branches: what is left is a forward that needs no mask.
        branching = self._branching(len(tokens), tree) if len(tree) else {}
        rows = torch.tensor(nodes, device=self.device) + len(unseen)
        logits = self.run(unseen + tree.tokens, logits_to_keep=rows, **branching)
        last = len(tokens) - 1
        read = [
            (last, tokens[last]) if node == ROOT else (last + tree.depths[node], tree.tokens[node])
            for node in nodes
        ]
        return self.predictions(logits, read)

    @torch.inference_mode()
    def grow_tree(self, length: int, tree: Tree, nodes: Sequence[int]) -> torch.Tensor:
        """Run one forward over those nodes of a tree that were not read yet, all beside each other.

        The cache holds a text of ``length`` tokens and, behind it, the tree's first nodes in their
        order: as ``extend_tree`` and this leave it, and ``extend`` where those nodes follow each
        other. ``rollback`` must settle what stays. For draft models: such a forward is none of
        ``events``.

        Parameters
        ----------
        length
            Length of the text that the tree starts from.
        tree
            With nodes that were added since.
        nodes
            Those of the new nodes after which logits are wanted.

        Returns
        -------
        Logits, ``[len(nodes), vocab_size]``, in the model's dtype.
        """
        held = self.cache.length - length
        if not 0 <= held < len(tree):
            raise ValueError(f"a tree of {len(tree)} nodes, of which {held} were read, has grown")
        self._check_reads_trees()
        rows = torch.tensor(nodes, device=self.device) - held
        branching = self._branching(length, tree)
        logits = self.run(tree.tokens[held:], logits_to_keep=rows, **branching)
        read = [(length - 1 + tree.depths[node], tree.tokens[node]) for node in nodes]
        return self.predictions(logits, read)

    @torch.inference_mode()
    def keep(self, length: int, nodes: Sequence[int]) -> None:
        """After ``extend_tree``: make a path of the tree part of the text, forget all the rest.

        Parameters
        ----------
        length
            Length of the text that the tree started from.
        nodes
            The path: nodes that follow each other, from one that follows the text on.
        """
        self.events.append(Kept(length, list(nodes)))
        self._keep(length, nodes)

    def _keep(self, length: int, nodes: Sequence[int]) -> None:
        self.cache.keep(length, nodes)

    def _unseen(self, tokens: Sequence[int], longest: int) -> list[int]:
        """The tokens that the next forward must read, which may be the whole text anew.

        Where its longest text, of ``longest`` tokens, is at the other side of the ``rope_switch``
        than the cache's, keys and values that are held are none of that text's.
        """
        switch = self.architecture.rope_switch
        beyond = switch is not None and longest > switch
        if beyond != self._beyond_switch:
            self.cache.rollback(0)
            self._beyond_switch = beyond
        return list(tokens[self.cache.length :])

    def _branching(self, length: int, tree: Tree) -> dict[str, Any]:
        """Options of ``run`` for the unseen of ``length`` tokens, then a tree.

        Where the cache holds more than the text, that is the tree's first nodes.
        """
        seen = self.cache.length
        held = max(0, seen - length)
        unseen = length + held - seen
        read = unseen + len(tree) - held
        visible = torch.ones(read, seen + read, dtype=torch.bool).tril(diagonal=seen)
        visible[unseen:, length:] = tree.visible(held)
        positions = [*range(seen, length), *(length - 1 + depth for depth in tree.depths)]
        by_layer = self.architecture.visible(visible, positions)
        masks = {kind: self._added(visible) for kind, visible in by_layer.items()}
        return {
            # Models whose layers are of one kind take a mask, the others one for each kind.
            "attention_mask": masks if len(masks) > 1 else next(iter(masks.values())),
            "position_ids": torch.tensor([positions[held:]], device=self.device),
        }

    def _added(self, visible: torch.Tensor) -> torch.Tensor:
        """A mask that is added to the scores: a bool one only sdpa takes, not eager attention."""
        mask = torch.zeros(1, 1, *visible.shape, dtype=self.model.dtype)
        return mask.masked_fill_(~visible, torch.finfo(mask.dtype).min).to(self.device)

    def run(self, unseen: list[int], **options: Any) -> torch.Tensor:
        """One forward over tokens that follow the cache's: the transformers model's own logits.

        ``options`` are arguments of that model: ``logits_to_keep``, and what ``_branching`` gives.
        """
        self._tokens += len(unseen)
        if max(unseen) >= self._known:
            unseen = [token if token < self._known else 0 for token in unseen]
        ids = torch.tensor([unseen], device=self.device)
        if self._fused:
            return self._fused(ids, self.cache, **options)
        output = self.model(input_ids=ids, past_key_values=self.cache, use_cache=True, **options)
        return output.logits[0]

    @torch.inference_mode()
    def read_batch(self, ids: torch.Tensor, cache: RollbackCache, rows: int) -> torch.Tensor:
        """One forward over several texts at once, apart from the text that is decoded.

        A text that is shorter than others is filled up at its end, which changes nothing of what
        comes before. Not of a model that is fused, or has a ``rope_switch``.

        Parameters
        ----------
        ids
            ``[texts, tokens]``, on the model's device.
        cache
            What was read of these texts before.
        rows
            For how many of the last tokens logits are wanted.

        Returns
        -------
        Logits, ``[texts, rows, vocab_size]``.
        """
        if self._fused or not self.one_forward:
            raise ValueError("only the layers of transformers read several texts in one forward")
        output = self.model(
            input_ids=self.readable(ids), past_key_values=cache, use_cache=True, logits_to_keep=rows
        )
        return self.predictions(output.logits.flatten(0, 1), []).unflatten(0, (len(ids), -1))

    @property
    def fused(self) -> FusedForward | None:
        """What computes its forwards, if not transformers."""
        return self._fused

    def readable(self, ids: torch.Tensor) -> torch.Tensor:
        """Token ids as the model can read them."""
        return ids.where(ids < self._known, 0)

    def predictions(self, logits: torch.Tensor, read: Sequence[tuple[int, int]]) -> torch.Tensor:
        """The model's logits from those that the transformers model gave, whoever ran it.

        Parameters
        ----------
        logits
            ``[rows, any]``.
        read
            The text position and the token that each row read last.

        Returns
        -------
        Logits, ``[rows, vocab_size]``; may be a view of what was given.
        """
        logits = logits[:, : self._known]
        unknown = self.vocab_size - self._known
        return pad(logits, (0, unknown), value=-torch.inf) if unknown else logits

    def as_library(self) -> CachedModel:
        """This model as transformers' own loops run it, which call it by its ``forward``.

        Attention then has other masks than in forwards in fewer operations, and rounds otherwise.
        """
        return CachedModel(self.model, self.vocab_size, self._known)

    def in_higher_precision(self) -> CachedModel:
        """This model computing in a wider dtype: float32, or float64 for float32.

        It shares the weights and widens them a layer at a time while it runs, so it needs no memory
        for a second model.
        """
        return WidenedModel(self.model, self.vocab_size, self._known)

    def synchronize(self) -> None:
        """Wait until its devices have finished what was asked of them."""
        for device in self._devices:
            wait_for(device)


class WidenedModel(CachedModel):
    """A model that runs in a wider dtype than its weights have."""

    def run(self, unseen: list[int], **options: Any) -> torch.Tensor:
        dtype = WIDER[self.model.dtype]
        mask = options.get("attention_mask")
        if isinstance(mask, dict):
            options["attention_mask"] = {kind: one.to(dtype) for kind, one in mask.items()}
        elif mask is not None:
            options["attention_mask"] = mask.to(dtype)
        with widened(self.model):
            return super().run(unseen, **options)

    def read_batch(self, ids: torch.Tensor, cache: RollbackCache, rows: int) -> torch.Tensor:
        with widened(self.model):
            return super().read_batch(ids, cache, rows)
