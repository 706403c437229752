"""Llama-like models that compute in fewer, larger operations.

Between two operations of a small forward there is more Python and dispatch than arithmetic. A layer
of transformers' Llama makes some 45 operations, one of these makes 20: one product for queries,
keys and values, one for gate and up, PyTorch's own RMS norm, products that add to the residual
stream, rotations looked up in a table. Weights lie as the products read them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.functional import embedding, pad, rms_norm, scaled_dot_product_attention, silu
from transformers import Cache, PreTrainedModel
from transformers.activations import SiLUActivation

from decoders.model.cache import PreallocatedLayer
from decoders.model.norm import RootMeanSquareNorm
from decoders.model.packed import Layout, Projection, best_layout, fill_rows, give_back
from decoders.model.packed_context import fits, packed_tokens
from decoders.model.small_head import SmallHead
from decoders.model.window import Window, invariant_window, plain_window

#: Model types of transformers whose layers these can take the place of: with or without biases of
#: queries, keys and values, with or without norms of queries and keys.
FUSIBLE = ("llama", "mistral", "qwen2", "qwen3")
#: From so many tokens of a text on one token reads it by two products, see ``_plain_is_quicker``.
TWO_PRODUCTS = 1024
#: Rotary embeddings that do not depend on the length of the text.
_STATIC_ROPE = ("default", "linear", "llama3", "yarn")


class FusedForward:
    """Forwards of a model whose layers are replaced, in place, by :class:`FusedLayer`.

    Outputs change by rounding only. The model itself can be called as before, by transformers'
    own decoding loops; calling this instead saves what transformers does around the layers.

    Raises ValueError for a model that is none of ``FUSIBLE``, or not all on one device.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        reason = _not_fusible(model)
        if reason:
            raise ValueError(reason)
        body: Any = model.model
        head: Any = model.lm_head
        linear: Any = head.project if isinstance(head, SmallHead) else head
        self._layout = best_layout([linear.weight, *body.layers.parameters()])
        # One at a time: each lets go of the weights that it takes.
        for index, layer in enumerate(body.layers):
            body.layers[index] = FusedLayer(layer, index, self._layout)
        body.rotary_emb = RotationTable(
            body.rotary_emb, model.config.max_position_embeddings, model.dtype
        )
        self.layers: list[FusedLayer] = list(body.layers)
        self.rotations: RotationTable = body.rotary_emb
        self._embedding: torch.Tensor = body.embed_tokens.weight
        self._norm = body.norm = _norm_of(body.norm)
        #: Whether windows after long texts may read copies of keys and values.
        self._copies = self._layout is not Layout.plain and model.dtype is torch.float32
        if isinstance(head, SmallHead):
            head.project = Projection(linear, layout=self._layout)
        else:
            head = model.lm_head = Projection(linear, layout=self._layout)
        self._head: nn.Module = head
        give_back()
        packed = self._layout is Layout.packed
        #: Whether a token's logits should not depend on what its forward reads beside it.
        self._invariant = packed and model.dtype is torch.bfloat16
        if packed:
            fill_rows(self._products(), alike=self._invariant)

    def _products(self) -> Iterator[Projection]:
        for layer in self.layers:
            yield from (layer.qkv, layer.o, layer.gate_up, layer.down)
        last = self._head.project if isinstance(self._head, SmallHead) else self._head
        assert isinstance(last, Projection)
        yield last

    def __call__(
        self,
        ids: torch.Tensor,
        cache: Cache,
        logits_to_keep: int | torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Logits, ``[rows, vocab]``, after the tokens ``ids``, ``[1, tokens]``.

        ``attention_mask`` is added to the scores, ``[1, 1, tokens, seen + tokens]``; without one
        each token attends to all before it and itself.
        """
        seen, tokens = cache.get_seq_length(), ids.shape[1]
        if position_ids is None:
            rotations = self.rotations.between(seen, seen + tokens)
        else:
            rotations = self.rotations(self._embedding, position_ids)
        mask: torch.Tensor | Window | None = attention_mask
        if mask is None:
            judged = logits_to_keep if isinstance(logits_to_keep, int) else len(logits_to_keep)
            mask = self._window(seen, tokens, judged)
        hidden = self._through(ids, mask, rotations, cache)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        return self.logits(hidden[kept])

    def _window(self, seen: int, tokens: int, judged: int) -> torch.Tensor | Window | None:
        """What hides from each token those after it, where anything must.

        ``judged``: after how many of them logits are wanted.
        """
        first = self.layers[0]
        group = first.heads // first.kv_heads
        if self._invariant:
            window = invariant_window(self._embedding, seen, tokens, judged, group)
            if window is not None:
                return window
        if tokens == 1 or not seen:
            return None
        copied = packed_tokens(seen, tokens) if self._copies else 0
        if copied and fits(len(self.layers), first.kv_heads, first.head_dim, copied):
            hidden_from = self._embedding.new_full((tokens, tokens), -torch.inf)
            return Window(hidden_from.triu_(diagonal=1), seen + tokens, copied=copied)
        if self._embedding.device.type == "cpu":
            return plain_window(self._embedding, seen, tokens, group)
        return plain_window(self._embedding, seen, tokens, group=1).hidden_from

    def _through(
        self, ids: torch.Tensor, mask: torch.Tensor | Window | None, rotations: Any, cache: Any
    ) -> torch.Tensor:
        """What comes out of the last layer, ``[tokens, hidden]``."""
        hidden = self.embed(ids)
        for layer in self.layers:
            hidden = layer(hidden, mask, rotations, cache)
        return hidden[0]

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """What goes into the first layer."""
        return embedding(ids, self._embedding)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits, ``[rows, vocab]``, from what comes out of the last layer."""
        logits: torch.Tensor = self._head(self._norm(hidden))
        return logits


def _not_fusible(model: PreTrainedModel) -> str:
    """Why a model can't be fused; empty where it can."""
    config = model.config
    if config.model_type not in FUSIBLE:
        return f"a {config.model_type} model; only {', '.join(FUSIBLE)} can be"
    if len({weights.device for weights in model.parameters()}) > 1:
        return "it is spread over several devices"
    if config._attn_implementation != "sdpa":
        return f"its attention is {config._attn_implementation}, not sdpa"
    if config.rope_parameters["rope_type"] not in _STATIC_ROPE:
        return f"its rotary embedding is {config.rope_parameters['rope_type']}"
    if getattr(config, "sliding_window", None) is not None:
        return "its attention slides"
    layers: Any = model.model.layers
    biases = (p.bias for layer in layers for p in (layer.self_attn.o_proj, *_mlp(layer)))
    return "its products have biases" if any(bias is not None for bias in biases) else ""


def _mlp(layer: Any) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
    return layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj


class RotationTable(nn.Module):
    """Looks up the rotation of each position, instead of computing it anew in every forward.

    Gives cosines and sines, ``[tokens, head_dim]``; the sines of the first half of the
    dimensions have the sign with which halves are exchanged.
    """

    exact: torch.Tensor
    rounded: torch.Tensor

    def __init__(self, rotary: nn.Module, positions: int, dtype: torch.dtype) -> None:
        super().__init__()
        frequencies: Any = rotary.inv_freq
        every = torch.arange(positions, device=frequencies.device)[None]
        cosines, sines = rotary(frequencies.float(), every)
        sines[..., : sines.shape[-1] // 2] *= -1
        exact = torch.stack([cosines[0], sines[0]])
        self.register_buffer("exact", exact, persistent=False)
        self.register_buffer("rounded", exact.to(dtype), persistent=False)

    def forward(self, hidden: torch.Tensor, position_ids: torch.Tensor) -> Any:
        table = self.rounded if hidden.dtype is self.rounded.dtype else self.exact
        return tuple(table[:, position_ids[0]].to(hidden.dtype))

    def between(self, start: int, end: int) -> Any:
        """Those of neighbouring positions, in the model's dtype."""
        return self.rounded[0, start:end], self.rounded[1, start:end]


class FusedLayer(nn.Module):
    """A decoder layer made of another's weights.

    Called, it reads one text; its parts serve :mod:`decoders.model.batch` for several.

    Parameters
    ----------
    layer
        The layer whose weights are taken.
    index
        Its number in the model, which the cache knows it by.
    layout
        How its weights are to lie, see :mod:`decoders.model.packed`.
    """

    def __init__(self, layer: Any, index: int, layout: Layout = Layout.plain) -> None:
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        self.index = index
        self.head_dim = attention.head_dim
        self.heads = attention.q_proj.out_features // self.head_dim
        self.kv_heads = attention.k_proj.out_features // self.head_dim
        self.scaling = attention.scaling
        self.act = silu if isinstance(mlp.act_fn, SiLUActivation | nn.SiLU) else mlp.act_fn
        self._eps = layer.input_layernorm.variance_epsilon
        self.input_norm = _norm_of(layer.input_layernorm)
        self.post_norm = _norm_of(layer.post_attention_layernorm)
        qkv = (attention.q_proj, attention.k_proj, attention.v_proj)
        self.qkv = Projection(*qkv, layout=layout)
        self._turned = (self.heads + self.kv_heads, self.kv_heads)
        self._of_keys = (self.heads, self.kv_heads)
        self.qk_norm = self._qk_norm(attention)
        self.o = Projection(attention.o_proj, layout=layout)
        self.gate_up = Projection(mlp.gate_proj, mlp.up_proj, layout=layout)
        self.down = Projection(mlp.down_proj, layout=layout)
        # Called and found without what nn.Module does around it, which takes longer than a norm.
        self._norms = self.input_norm.forward, self.post_norm.forward
        self._project, self._output = self.qkv.forward, self.o.forward
        self._expand, self._contract = self.gate_up.forward, self.down.forward

    def _qk_norm(self, attention: Any) -> nn.Parameter | None:
        if not hasattr(attention, "q_norm"):
            return None
        weights = [attention.q_norm.weight] * self.heads + [attention.k_norm.weight] * self.kv_heads
        return nn.Parameter(torch.stack(weights)[:, None], requires_grad=False)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | Window | None = None,
        position_embeddings: Any = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """As of transformers' layers; ``hidden_states``: ``[1, tokens, hidden]``.

        Under a :class:`Window` the cache is one of ours.
        """
        hidden = hidden_states.squeeze(0)
        tokens = hidden.shape[0]
        queries, keys, values = self.project(hidden, *position_embeddings)
        if past_key_values is not None:
            keys, values = past_key_values.update(keys, values, self.index)
        if isinstance(attention_mask, Window):
            layer = past_key_values.layers[self.index]
            read = self._attend_window(attention_mask, queries, keys, values, layer)
        else:
            is_causal = attention_mask is None and tokens > 1
            read = self.attend(queries, keys, values, attention_mask, is_causal)
        read = read.transpose(1, 2).reshape(tokens, -1)
        return self.finish(hidden, read).unsqueeze(0)

    def project(
        self, hidden: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Rotated queries and keys, and values, ``[1, heads, tokens, head_dim]``, of what comes in.

        ``hidden``: ``[tokens, hidden]``, of any texts.
        """
        states = self._project(self._norms[0](hidden))
        heads = states.view(1, hidden.shape[0], -1, self.head_dim).transpose(1, 2)
        turned, values = heads.split(self._turned, 1)
        queries, keys = self._rotate(turned, cosines, sines).split(self._of_keys, 1)
        return queries, keys, values

    def attend(
        self,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        mask: torch.Tensor | None,
        is_causal: bool = False,
    ) -> torch.Tensor:
        """What is read of ``values``; all are ``[texts, heads, tokens, head_dim]``."""
        if queries.shape[2] == 1 and queries.device.type == "cpu":
            if mask is None and _plain_is_quicker(queries, keys):
                grouped = queries.view(self.kv_heads, -1, self.head_dim) * self.scaling
                shares = (grouped @ keys[0].mT).softmax(dim=-1)
                return (shares @ values[0]).view(queries.shape)
            return self._attend_grouped(queries, keys, values, mask)
        return scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=mask,
            is_causal=is_causal,
            scale=self.scaling,
            enable_gqa=self.heads != self.kv_heads,
        )

    def _attend_window(
        self,
        window: Window,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        layer: PreallocatedLayer,
    ) -> torch.Tensor:
        """As ``attend``; ``layer`` holds ``keys`` and ``values`` of the whole text."""
        if window.copied:
            context = layer.packed(window.copied)
            return context.attend(queries, keys, values, window.hidden_from, self.scaling)
        prompt, tokens = window.prompt, queries.shape[2]
        if prompt:
            begun, held, read = (one[:, :, :prompt] for one in (queries, keys, values))
            alone = self.attend(begun, held, read, mask=None, is_causal=prompt > 1)
            queries = queries[:, :, prompt:]
        if window.extent > keys.shape[2]:
            keys, values = layer.first(window.extent)
            rows = window.hidden_from.shape[0] // (self.heads // self.kv_heads)
            queries = pad(queries, (0, 0, 0, rows - queries.shape[2]))
        read = self._attend_grouped(queries, keys, values, window.hidden_from)
        read = read[:, :, : tokens - prompt]
        return torch.cat([alone, read], dim=2) if prompt else read

    def _attend_grouped(
        self,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """As ``attend``, with heads of queries that share keys as further tokens of one head.

        On a CPU keys and values are read once then, not once for each of these heads. ``mask`` has
        a row for each of those tokens, head by head, or one for all.
        """
        grouped = queries.reshape(len(queries), self.kv_heads, -1, self.head_dim)
        read = scaled_dot_product_attention(
            grouped, keys, values, attn_mask=mask, scale=self.scaling
        )
        return read.reshape(queries.shape)

    def finish(self, hidden: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
        """What comes out, from what came in and what attention read, ``[tokens, heads × dim]``."""
        hidden = self._output(read, hidden)
        gate, up = self._expand(self._norms[1](hidden)).chunk(2, dim=-1)
        return self._contract(self.act(gate) * up, hidden)

    def _rotate(
        self, heads: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor
    ) -> torch.Tensor:
        if self.qk_norm is not None:
            heads = rms_norm(heads, (self.head_dim,), None, self._eps) * self.qk_norm
        return torch.addcmul(heads * cosines, heads.roll(self.head_dim // 2, -1), sines)


def _plain_is_quicker(queries: torch.Tensor, keys: torch.Tensor) -> bool:
    """Whether one token reads a text sooner by two products than by PyTorch's attention.

    A long one it does. The narrow types would be rounded between the two.
    """
    one_text = len(queries) == 1
    return one_text and queries.dtype is torch.float32 and keys.shape[2] >= TWO_PRODUCTS


def _norm_of(norm: Any) -> RootMeanSquareNorm:
    """One of transformers' norms in fewer operations."""
    return RootMeanSquareNorm(norm.weight, norm.variance_epsilon)
