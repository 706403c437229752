"""What can be told of a model from its config, and that its forwards then are its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from architectures import BRANCHING, SWITCH, WINDOW, make_architecture, make_config
from decoder_cases import NAMES, OWN_NAMES, make_decoder
from exact import in_one_process
from small_pair import SmallPair, make_tokenizer
from test_tree import TEXT, make_tree
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, LlamaForCausalLM, PreTrainedConfig

from decoders.autoregressive import Autoregressive
from decoders.decoder import Decoder
from decoders.lookahead import Lookahead
from decoders.model.architecture import Architecture, context, unfit
from decoders.model.cached_model import CachedModel
from decoders.model.fixed_window import FixedWindowModel
from decoders.model.tree import ROOT, Tree
from decoders.process.models import Models
from decoders.process.worker import WorkerOptions
from decoders.prompt_lookup import PromptLookup
from decoders.sampling.sampler import Greedy
from pearl_eval.errors import UserError
from pearl_eval.evaluation import plan
from pearl_eval.evaluation.plan import Prompt, check_target
from pearl_eval.machine.devices import Devices
from pearl_eval.pairs import pretrained
from pearl_eval.pairs.pair import Pair
from pearl_eval.pairs.pretrained import ModelConfig, Pretrained
from pearl_eval.sizes.model_size import ModelSize
from tasks.task import Problem

CLOSE = {"rtol": 1e-4, "atol": 1e-4}
CPU = Devices(("cpu",), ("cpu",))
OPTIONS = WorkerOptions(spin_seconds=0.0)
Run = Callable[..., tuple[int, str, str]]
LONG = torch.randint(0, 64, (40,), generator=torch.Generator().manual_seed(1)).tolist()


def whole(model: CachedModel, text: list[int]) -> torch.Tensor:
    """Logits after a text, by the transformers model itself, from nothing."""
    with torch.inference_mode():
        return model.model(torch.tensor([text]), use_cache=False).logits[0, -1]


def outputs(decoder: Decoder, kind: str, prompt: list[int], limit: int, **more: Any) -> list[int]:
    """What a decoder makes of a prompt; it is drafted for by a model that is often right."""
    target = CachedModel(make_architecture(kind, **more))
    draft = CachedModel(make_architecture(kind, noise=0.02, **more))
    with in_one_process():
        session = decoder.start(Models(target, lambda: draft, OPTIONS), Greedy())
        generation = session.decode(prompt, limit, ())
        session.stop()
    drafted = sum(one.drafted for one in generation.rounds)
    accepted = sum(one.accepted for one in generation.rounds)
    assert 0 < accepted < drafted or not decoder.uses_draft
    return generation.output_ids


# What each kind of layer sees. Two tokens are held, one is new, and then a tree: a-b, and c.
FULL = """
    ### ...
    ### #..
    ### ##.
    ### ..#
"""
#: A window of three: b, at position 4, sees back to position 2.
SLIDING = """
    ### ...
    .## #..
    ..# ##.
    .## ..#
"""
#: Chunks of two: positions 2 and 3 are one, 4 is in the next.
CHUNKED = """
    ..# ...
    ..# #..
    ... .#.
    ..# ..#
"""


def test_what_each_kind_of_layer_sees_of_a_tree() -> None:
    layers = frozenset({"full_attention", "sliding_attention", "chunked_attention"})
    architecture = Architecture("any", 64, layers, sliding_window=3, chunk=2)
    seen = as_mask(FULL)
    found = architecture.visible(seen, [2, 3, 4, 3])
    assert sorted(found) == sorted(layers)
    for kind, expected in (("full", FULL), ("sliding", SLIDING), ("chunked", CHUNKED)):
        assert torch.equal(found[f"{kind}_attention"], as_mask(expected)), kind


def as_mask(picture: str) -> torch.Tensor:
    rows = [line.replace(" ", "") for line in picture.splitlines() if line.strip()]
    return torch.tensor([[sign == "#" for sign in row] for row in rows])


@pytest.mark.parametrize("seen", [0, 9])
@pytest.mark.parametrize("kind", BRANCHING)
def test_trees_are_read_as_texts_are(kind: str, seen: int) -> None:
    """Of a text that is longer than any window, by a tree that is as deep as one is wide."""
    cached = CachedModel(make_architecture(kind))
    if seen:
        cached.extend(TEXT[:seen], rows=1)
    tree, paths = make_tree()
    deepest = tree.add(11, len(tree) - 1)
    paths[deepest] = [*paths[deepest - 1], 11]
    logits = cached.extend_tree(TEXT, tree, list(paths))
    for row, path in zip(logits, paths.values(), strict=True):
        torch.testing.assert_close(row, whole(cached, TEXT + path), **CLOSE)
    # The path that ends there, then one token more.
    nodes = [node for node in range(len(tree)) if tree.visible()[deepest, node]]
    cached.keep(len(TEXT), nodes)
    text = [*TEXT, *paths[deepest], 2]
    torch.testing.assert_close(cached.extend(text, 1)[0], whole(cached, text), **CLOSE)


@pytest.mark.parametrize("kind", BRANCHING)
def test_trees_that_grow_are_read_as_texts_are(kind: str) -> None:
    """What was read of them is held behind the text, but is at other positions than there."""
    cached = CachedModel(make_architecture(kind))
    cached.extend([*TEXT, 5], rows=1)
    tree = Tree()
    tips = {tree.add(5): [5]}
    (first,) = tips
    tips = {tree.add(7): [7], tree.add(8): [8], tree.add(9, first): [5, 9]}
    for step in range(6):
        logits = cached.grow_tree(len(TEXT), tree, list(tips))
        for row, path in zip(logits, tips.values(), strict=True):
            torch.testing.assert_close(row, whole(cached, TEXT + path), **CLOSE)
        tips = {
            tree.add(step + index, node): [*path, step + index]
            for index, (node, path) in enumerate(tips.items())
        }


@pytest.mark.parametrize("kind", ["some sliding", "sinks"])
def test_trees_in_higher_precision_have_a_mask_for_each_kind_of_layer(kind: str) -> None:
    """Also where experts are computed in groups, for which there is no float64."""
    cached = CachedModel(make_architecture(kind))
    experts = cached.model.get_experts_implementation()
    tree, paths = make_tree()
    logits = cached.in_higher_precision().extend_tree(TEXT, tree, list(paths))
    assert logits.dtype is torch.float64
    for row, path in zip(logits, paths.values(), strict=True):
        torch.testing.assert_close(row.float(), whole(cached, TEXT + path), **CLOSE)
    assert torch.get_default_dtype() is torch.float32
    assert cached.model.get_experts_implementation() == experts


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("alibi", "can't be told the positions"),
        ("alibi, too", "can't be told the positions"),
        ("alibi by a setting", "ALiBi"),
        ("local by the cache", "local attention is counted along the cache"),
    ],
)
def test_targets_that_read_no_trees_are_refused_to_lookahead_alone(kind: str, reason: str) -> None:
    model = make_architecture(kind)
    cached = CachedModel(model)
    pair = Pair(make_tokenizer(), {}, (), pytest.fail, pytest.fail,
                architectures={"target": cached.architecture})  # fmt: skip
    with pytest.raises(UserError, match=rf"target \({model.config.model_type}\) can't: .*{reason}"):
        check_target(Lookahead(), pair)
    for name in NAMES:
        # The other one refuses them for another reason.
        if name not in ("lookahead", "assisted_early_exit"):
            check_target(make_decoder(name), pair)
    drafts = Pair(make_tokenizer(), {}, (), pytest.fail, pytest.fail,
                  architectures={"draft": cached.architecture})  # fmt: skip
    for name in NAMES:
        if name != "ssd":
            check_target(make_decoder(name), drafts)
    with pytest.raises(UserError, match=rf"draft model \({model.config.model_type}\) can't read"):
        check_target(make_decoder("ssd"), drafts)
    with pytest.raises(ValueError, match="reads no trees"):
        cached.extend_tree(TEXT, make_tree()[0], [ROOT])
    # They are decoded all the same, one token or several at a time.
    cached.extend(TEXT[:5], 1)
    rows = cached.extend(TEXT, 3)
    torch.testing.assert_close(rows[-1], whole(cached, TEXT), **CLOSE)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (
            "recurrent",
            "layers of linear_attention (a recurrent state, as Mamba's), which can't go b",
        ),
        ("a state without layers", "keeps a recurrent state, which can't go back"),
        ("convolutions", "layers of conv (the last inputs of a convolution), which can't go back"),
        ("linear attention", "layers of linear_attention (a recurrent state"),
        ("an index", "layers of indexed_attention (an index beside keys and values)"),
        ("compressed", "compressed_sparse_attention (compressed keys and values) and heavily_com"),
        (
            "both at once",
            "layers of hybrid (a recurrent or convolutional state beside keys and val",
        ),
        ("mixed", "with layers of linear_attention (a recurrent state, as Mamba's), which can't"),
        ("patches", "reads bytes in patches of its own choice"),
        ("tokens of its own", "puts tokens of its own before each text"),
        ("no cache", "takes no past_key_values"),
        ("both directions", "attend to those after them"),
        ("both directions by a setting", "attend to those after them"),
        ("an encoder", "an encoder beside its decoder"),
        ("several texts", "is no causal language model"),
    ],
)
def test_models_that_no_decoder_can_use_are_told_by_their_configs(kind: str, reason: str) -> None:
    """In a line of their kind's name and what they keep, and nothing is said of other layers."""
    with pytest.raises(UserError) as refused:
        pretrained.check_kind(config := make_config(kind))
    line = str(refused.value)
    assert line.startswith(f"a {config.model_type} model, w") and reason in line
    assert "\n" not in line and "full_attention" not in line and "moe" not in line


@pytest.mark.parametrize("kind", [*BRANCHING, "alibi", "a decoder of its own",
                                  "a setting nobody reads"])  # fmt: skip
def test_models_that_decoders_can_use(kind: str) -> None:
    assert reason_against(make_config(kind)) == ""


def reason_against(config: PreTrainedConfig) -> str:
    return unfit(config, MODEL_FOR_CAUSAL_LM_MAPPING[type(config)])


@pytest.mark.parametrize(
    ("settings", "ahead"),
    [
        ({"use_bidirectional_attention": True}, True),
        ({"use_bidirectional_attention": "all"}, True),
        # Among the parts of a picture, which no text has.
        ({"use_bidirectional_attention": "vision"}, False),
        ({"use_bidirectional_attention": None}, False),
        ({"is_causal": False}, True),
        ({"is_causal": True}, False),
        ({"is_decoder": True}, False),
        ({}, False),
    ],
    ids=str,
)
def test_settings_by_which_tokens_attend_to_those_after_them(
    settings: dict[str, Any], ahead: bool
) -> None:
    config: Any = SimpleNamespace(model_type="any", **settings)
    assert unfit(config, LlamaForCausalLM).startswith("whose tokens attend to those") is ahead


FULL_LAYERS, SLIDING_LAYERS, CHUNKED_LAYERS = (
    frozenset({f"{kind}_attention"}) for kind in ("full", "sliding", "chunked")
)


@pytest.mark.parametrize(
    ("settings", "layers"),
    [
        ({}, FULL_LAYERS),
        ({"sliding_window": 4}, SLIDING_LAYERS),
        ({"attention_chunk_size": 8}, CHUNKED_LAYERS),
        ({"sliding_window": 4, "attention_chunk_size": 8}, SLIDING_LAYERS),
        ({"sliding_window": 4, "layer_types": ["full_attention"]}, FULL_LAYERS),
        (
            {"layer_types": ["full_attention", "chunked_attention"], "attention_chunk_size": 8},
            FULL_LAYERS | CHUNKED_LAYERS,
        ),
    ],
)
def test_kinds_of_layers_where_a_config_names_them_and_where_not(
    settings: dict[str, Any], layers: frozenset[str]
) -> None:
    config: Any = SimpleNamespace(model_type="any", **settings)
    made = Architecture.of(config, LlamaForCausalLM)
    windows = settings.get("sliding_window"), settings.get("attention_chunk_size")
    assert (made.layers, made.sliding_window, made.chunk) == (layers, *windows)


def test_what_else_a_config_says() -> None:
    """A switch of rotations may be of some kinds of layers alone."""
    switching = {"rope_type": "longrope", "original_max_position_embeddings": 20}
    plain = {"rope_type": "default"}
    found = []
    for rotations in (None, plain, switching, {"a": plain, "b": switching}, {"a": plain}):
        config: Any = SimpleNamespace(
            model_type="any",
            max_position_embeddings=99,
            num_hidden_layers=7,
            num_mtp_layers=2 if rotations else None,
            rope_parameters=rotations,
        )
        made = Architecture.of(config, LlamaForCausalLM)
        assert (made.name, made.context, made.depth, made.no_trees) == ("any", 99, 7, "")
        found.append((made.rope_switch, made.mtp_layers))
    assert found == [(None, 0), (None, 2), (20, 2), (20, 2), (None, 2)]


@pytest.mark.parametrize("role", ["target", "draft"])
def test_either_model_is_refused_by_its_config_alone(
    small_pair: SmallPair, tmp_path: Path, role: str
) -> None:
    folder = with_config(small_pair, tmp_path, make_config("recurrent").to_dict())
    paths = {"target": small_pair.folder / "target", "draft": small_pair.folder / "draft"}
    paths[role] = folder
    source = Pretrained(**{name: ModelConfig(str(path)) for name, path in paths.items()})
    with pytest.raises(
        UserError, match=rf"pair\.{role}\.path=.*: a mamba model, with layers of li"
    ):
        source.open(CPU, uses_draft=True)
    if role == "draft":
        # What is not used may be anything, for a dry run, too.
        source.open(CPU, uses_draft=False)
        assert list(source.sizes()) == ["target"]
    else:
        with pytest.raises(UserError, match="a mamba model"):
            source.sizes()


def test_the_architectures_of_a_pair_are_those_of_its_models(
    small_pair: SmallPair, tmp_path: Path
) -> None:
    folder = with_config(small_pair, tmp_path, make_config("longrope").to_dict())
    target = ModelConfig(str(small_pair.folder / "target"))
    source = Pretrained(target=target, draft=ModelConfig(str(folder)))
    found = source.open(CPU, uses_draft=True).architectures
    assert {role: one.rope_switch for role, one in found.items()} == {"target": None, "draft": 20}
    assert list(source.open(CPU, uses_draft=False).architectures) == ["target"]


def with_config(pair: SmallPair, folder: Path, config: dict[str, Any]) -> Path:
    """A copy of the pair's target with another config."""
    shutil.copytree(pair.folder / "target", folder, dirs_exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("method", "library"),
    [
        ({"quant_method": "awq", "bits": 4, "group_size": 64}, "gptqmodel"),
        ({"quant_method": "gptq", "bits": 4}, "optimum"),
        ({"quant_method": "compressed-tensors"}, "compressed-tensors"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
    ],
    ids=lambda one: one["quant_method"] if isinstance(one, dict) else one,
)
def test_quantised_weights_without_their_library(
    small_pair: SmallPair, tmp_path: Path, method: dict[str, Any], library: str
) -> None:
    target = json.loads((small_pair.folder / "target" / "config.json").read_text())
    folder = with_config(small_pair, tmp_path, target | {"quantization_config": method})
    source = Pretrained(target=ModelConfig(str(folder)), draft=ModelConfig(str(folder)))
    with pytest.raises(UserError, match=rf"quantised \({method['quant_method']}\).*{library}") as e:
        source.open(CPU, uses_draft=False)
    assert "pip install" in str(e.value) and len(str(e.value).splitlines()) == 1


def test_quantised_weights_whose_library_is_here(
    small_pair: SmallPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are asked for as they would be loaded, and the config stays as it was read."""
    target = json.loads((small_pair.folder / "target" / "config.json").read_text())
    method = {"quant_method": "awq"}
    folder = with_config(small_pair, tmp_path, target | {"quantization_config": method})
    asked: list[Any] = []

    def quantizer(config: Any, given: None, device_map: Any, *_: Any) -> None:
        config.quantization_config = "changed"
        asked.append(device_map)

    monkeypatch.setattr(pretrained, "get_hf_quantizer", quantizer)
    config = pretrained.read_config("target", ModelConfig(str(folder)), ("cuda:3",))
    pretrained.read_config("target", ModelConfig(str(folder)), ("cuda:0", "cuda:1"))
    assert asked == [{"": "cuda:3"}, "auto"]
    assert config.quantization_config == method
    # Nothing is to be loaded, so nothing is asked.
    pretrained.read_config("target", ModelConfig(str(folder)))
    assert len(asked) == 2


def test_size_of_a_model_whose_layers_differ() -> None:
    """Two of its four layers, one of each kind, hold keys and values: 2 heads of 8 and of 16."""
    size = ModelSize.of(make_config("two widths"))
    assert size.cached == 2 * (2 * 8 + 2 * 16)
    assert size.attended == 2 * (4 * 8 + 4 * 16)
    assert size.context == 128


@pytest.mark.parametrize(
    ("config", "longest"),
    [
        (make_config("full", max_position_embeddings=77), 77),
        (make_config("alibi, too", max_position_embeddings=None), 128),
        (make_config("alibi", max_position_embeddings=None, seq_length=99), 99),
    ],
    ids=["named", "of ALiBi", "of old"],
)
def test_context(config: PreTrainedConfig, longest: int) -> None:
    assert context(config) == longest


def test_a_model_without_a_limit_takes_any_text() -> None:
    assert context(make_config("alibi", max_position_embeddings=None)) > 10**9


@pytest.mark.parametrize("pieces", [[40], [7, 33, 40], [19, 20, 21, 22, 40], [20, 40], [19, 40]])
def test_a_text_that_outgrows_its_rotations_is_read_anew(pieces: list[int]) -> None:
    """Every row is that of the text up to there, read as a whole; in pieces of any lengths."""
    cached = CachedModel(make_architecture("longrope"))
    start = 0
    for end in pieces:
        rows = cached.extend(LONG[:end], rows=end - start)
        for row, length in zip(rows, range(start + 1, end + 1), strict=True):
            torch.testing.assert_close(row, whole(cached, LONG[:length]), **CLOSE)
        assert cached.length == end
        start = end


def test_rotations_matter() -> None:
    """Else the test above would see nothing."""
    cached = CachedModel(make_architecture("longrope"))
    plain = CachedModel(make_architecture("longrope"))
    plain.architecture = make_architecture_without_switch(plain.architecture)
    for end in (SWITCH, SWITCH + 1):
        ours, theirs = (model.extend(LONG[:end], 1) for model in (cached, plain))
    assert not torch.allclose(ours, theirs, atol=0.1)


def make_architecture_without_switch(one: Architecture) -> Architecture:
    return Architecture(one.name, one.context, one.layers)


def test_a_text_that_goes_back_over_the_switch_is_read_anew() -> None:
    cached = CachedModel(make_architecture("longrope"))
    cached.extend(LONG[: SWITCH + 3], rows=1)
    cached.rollback(SWITCH - 2)
    for end in (SWITCH, SWITCH + 1, SWITCH + 2):
        row = cached.extend(LONG[:end], rows=1)[0]
        torch.testing.assert_close(row, whole(cached, LONG[:end]), **CLOSE)
    # From there on no text is read twice.
    cached.take_tokens()
    cached.extend(LONG[: SWITCH + 4], rows=2)
    assert cached.take_tokens() == 2


#: Decoders that read trees, which may not be across the switch.
TREES = ("lookahead", "ssd")


def test_trees_on_either_side_of_the_switch_but_not_across() -> None:
    cached = CachedModel(make_architecture("longrope"))
    tree, paths = make_tree()
    for length in (SWITCH - 3, SWITCH + 1):
        cached.rollback(0)
        logits = cached.extend_tree(LONG[:length], tree, list(paths))
        for row, path in zip(logits, paths.values(), strict=True):
            torch.testing.assert_close(row, whole(cached, LONG[:length] + path), **CLOSE)
    for length in (SWITCH - 2, SWITCH):
        cached.rollback(0)
        with pytest.raises(ValueError, match=f"of up to {length + 3} tokens, across {SWITCH}"):
            cached.extend_tree(LONG[:length], tree, [ROOT])


@pytest.mark.parametrize("name", [one for one in OWN_NAMES if one not in TREES])
def test_decoders_follow_the_switch(name: str) -> None:
    """Against the transformers model alone, which reads the whole text for each token."""
    model = CachedModel(make_architecture("longrope"))
    text = LONG[: SWITCH - 6]
    for _ in range(16):
        text.append(int(whole(model, text).argmax()))
    decoder = make_decoder(name, 3)
    assert decoder.follows_rope_switch
    assert outputs(decoder, "longrope", LONG[: SWITCH - 6], 16) == text[SWITCH - 6 :]


@pytest.mark.parametrize("name", NAMES)
def test_decoders_go_back_over_a_windows_edge(name: str) -> None:
    """To what transformers generates, in texts that grow beyond the window or begin there."""
    kind = "rotations of each kind"
    model: Any = make_architecture(kind)
    for prompt in (LONG[: WINDOW - 2], LONG[: 3 * WINDOW]):
        text = torch.tensor([prompt])
        seen = torch.ones_like(text)  # else tokens for padding would be left out
        made = model.generate(
            text, attention_mask=seen, max_new_tokens=16, do_sample=False, eos_token_id=None
        )
        expected = made[0, len(prompt) :].tolist()
        assert outputs(make_decoder(name, 3), kind, prompt, 16) == expected


@pytest.mark.parametrize("name", NAMES)
def test_texts_beyond_the_switch_from_their_prompt_on(name: str) -> None:
    """Any decoder has them; some models begin another cache there than they are given."""
    prompt = LONG[: SWITCH + 4]
    expected = outputs(Autoregressive(), "longrope", prompt, 10)
    assert outputs(make_decoder(name, 3), "longrope", prompt, 10) == expected
    model = CachedModel(make_architecture("longrope"))
    assert expected[-1] == int(whole(model, [*prompt, *expected[:-1]]).argmax())


@pytest.mark.parametrize(
    ("kind", "arguments", "said"),
    [
        ("alibi", ["decoder=lookahead"], "this target (bloom) can't: "),
        ("longrope", ["decoder=prompt_lookup"], "crosses 1000, where the target model (phi3"),
        (
            "longrope",
            ["decoder=speculative", "runtime.fixed_window=true"],
            "crosses 1000, where the target model (phi3",
        ),
        ("recurrent", ["decoder=autoregressive"], "a mamba model, with layers of linear_attention"),
    ],
)
def test_runs_are_refused_before_weights_are_loaded(
    run_cli: Run,
    small_pair: SmallPair,
    tmp_path: Path,
    kind: str,
    arguments: list[str],
    said: str,
) -> None:
    """The weights that lie there are none of these models'."""
    longer = {"original_max_position_embeddings": 1000, "max_position_embeddings": 4096}
    config = make_config(kind, **longer if kind == "longrope" else {}).to_dict()
    folder = with_config(small_pair, tmp_path / "odd", config | {"max_position_embeddings": 4096})
    code, _, err = run_cli(
        *arguments, f"pair.target.path={folder}", "task.limit=1", "task.max_new_tokens=990"
    )
    assert (code, said in err) == (2, True), err


@pytest.mark.parametrize(
    ("first", "last", "limit", "answers", "remedy"),
    [
        (10, 10, 10, 1, None),
        (10, 10, 11, 1, "task.max_new_tokens to at most 10, or"),
        (20, 20, 1, 1, "leave the problem out, or"),
        (21, 21, 50, 1, None),
        # A dialogue: two answers, and what is said between them.
        (10, 14, 3, 2, None),
        (10, 14, 4, 2, "task.max_new_tokens to at most 3, or"),
        (10, 25, 1, 2, "leave the problem out, or"),
        (21, 25, 9, 2, None),
    ],
)
def test_a_text_that_crosses_the_switch_is_refused_where_it_is_not_followed(
    first: int, last: int, limit: int, answers: int, remedy: str | None
) -> None:
    config = make_config("longrope")
    of_draft = Architecture.of(config, MODEL_FOR_CAUSAL_LM_MAPPING[type(config)])
    pair = Pair(make_tokenizer(), {}, (), pytest.fail, pytest.fail,
                architectures={"target": Architecture("a", 99), "draft": of_draft})  # fmt: skip
    if remedy is None:
        pair.check_rope_switch("T/1", first, last, limit, answers)
        return
    grows = f"T/1: a text that grows from {first} to up to {last + answers * limit} tokens"
    with pytest.raises(UserError, match=rf"{grows} crosses 20, where the draft model.*{remedy}"):
        pair.check_rope_switch("T/1", first, last, limit, answers)


def test_a_dialogue_grows_from_its_first_prompt_on() -> None:
    asked: list[Any] = []
    pair: Any = SimpleNamespace(
        prompt=lambda problem, answers=(): [0] * (10 + 7 * len(answers)),
        check_rope_switch=lambda *arguments: asked.append(arguments),
    )
    problems = [Problem("D/1", "", turns=("a", "b", "c")), Problem("T/1", "a")]
    prompts = [Prompt(one, [0] * 10, seed=0, sample=i) for one in problems for i in range(2)]
    plan._check_rope_switch(pair, prompts, 5)
    assert asked == [("D/1", 10, 24, 5, 3), ("T/1", 10, 10, 5, 1)]


@pytest.mark.parametrize("name", NAMES)
def test_only_decoders_that_read_anew_say_so(name: str) -> None:
    own = name in OWN_NAMES and name not in TREES
    assert make_decoder(name).follows_rope_switch == own


@pytest.mark.parametrize("name", NAMES)
def test_a_text_may_fill_the_context_to_its_end(name: str) -> None:
    """Where no position lies beyond it: nothing is drafted there that any model would read."""
    room, decoder = 24, make_decoder(name, 5)
    # A model of absolute positions can't be left early.
    kind = "full" if decoder.drafts_itself else "absolute positions"
    longest = {"max_position_embeddings": len(TEXT) + room}
    expected = outputs(Autoregressive(), kind, TEXT, room, **longest)
    assert outputs(decoder, kind, TEXT, room, **longest) == expected


def test_prompt_lookup_drafts_up_to_the_last_token_but_one() -> None:
    """What it finds may go on longer than the text may."""
    model = CachedModel(make_architecture("full"))
    decoder = PromptLookup(gamma=10)
    session = decoder.start(Models(model, pytest.fail, OPTIONS), Greedy())
    reached = False
    for limit in range(1, 12):
        verified = 0
        for one in session.decode(TEXT * 2, limit, ()).rounds:
            assert one.drafted <= limit - verified - 1
            reached |= one.drafted == limit - verified - 1 > 0
            verified = one.verified_length
    assert reached
    assert "_get_candidate_generator" not in vars(model.model)


@pytest.mark.parametrize("beyond", range(8))
def test_fixed_windows_end_with_the_context(beyond: int) -> None:
    longest = 16 + beyond
    model = make_architecture("absolute positions", max_position_embeddings=longest)
    fixed, plain = FixedWindowModel(model), CachedModel(model)
    for end in (longest - 1, longest):
        ours, theirs = (one.extend(LONG[:end], rows=1) for one in (fixed, plain))
        torch.testing.assert_close(ours, theirs, **CLOSE)
    fixed.rollback(0)
    at_once = fixed.extend(LONG[:longest], rows=longest)
    fixed.rollback(0)
    steps = [fixed.extend(LONG[:end], rows=1) for end in range(1, longest + 1)]
    assert torch.equal(torch.cat(steps), at_once)
