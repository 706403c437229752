"""Where pairs come from: layouts of trained models, the controlled and the synthetic pair."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file
from small_pair import SmallPair, make_model, make_tokenizer
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast, Qwen3Config

from decoders.autoregressive import Autoregressive
from decoders.draft_length import AUTO
from decoders.model.tree import ROOT, Tree
from decoders.process.models import Checkpoint, Models
from decoders.process.worker import WorkerOptions
from decoders.sampling.sampler import Greedy
from decoders.speculative import Speculative
from pearl_eval.config.building import build
from pearl_eval.config.paths import config_dir
from pearl_eval.config.registry import register
from pearl_eval.config.schema import ForwardKind, RuntimeConfig
from pearl_eval.errors import UserError
from pearl_eval.machine.devices import Devices
from pearl_eval.machine.placement import Processes
from pearl_eval.pairs import controlled as controlled_pairs
from pearl_eval.pairs import setup
from pearl_eval.pairs import synthetic as synthetic_pairs
from pearl_eval.pairs.controlled import Controlled
from pearl_eval.pairs.fingerprint import folder_fingerprint
from pearl_eval.pairs.frequent_tokens import write_frequent
from pearl_eval.pairs.model_config import is_local, model_name
from pearl_eval.pairs.pair import Pair, PairSource
from pearl_eval.pairs.pretrained import ModelConfig, Pretrained, weights_mark
from pearl_eval.pairs.synthetic import LlamaShape, Synthetic
from pearl_eval.pairs.vocabularies import check_apart
from pearl_eval.sizes.memory import check_fits, model_bytes
from pearl_eval.sizes.model_size import ModelSize

CPU = Devices(("cpu",), ("cpu",))
PROMPT = list(range(20, 50))
Run = Callable[..., tuple[int, str, str]]


def open_pair(target: Path, draft: Path) -> Pair:
    return Pretrained(target=ModelConfig(str(target)), draft=ModelConfig(str(draft))).open(
        CPU, uses_draft=True
    )


def acceptance(pair: Pair, prompts: int = 6, tokens: int = 60) -> tuple[int, int, int]:
    """Accepted and judged tokens of vanilla speculative decoding, and of equal outputs."""
    made = Models(pair.load_target(), pair.load_draft, WorkerOptions())
    decoder, reference = Speculative(4), Autoregressive()
    session = decoder.start(made, Greedy())
    reference = reference.start(made, Greedy())
    accepted = judged = same = 0
    for seed in range(prompts):
        prompt = [(seed * 37 + i * 11) % 250 for i in range(20)]
        generation = session.decode(prompt, tokens, ())
        same += generation.output_ids == reference.decode(prompt, tokens, ()).output_ids
        accepted += sum(r.accepted for r in generation.rounds)
        judged += sum(r.judged for r in generation.rounds)
    return accepted, judged, same


def test_sharded_weights_load_and_a_missing_or_cut_shard_is_named(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    model = make_model(len(tokenizer), layers=2, seed=1)
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    tokenizer.save_pretrained(tmp_path)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 2
    loaded = open_pair(tmp_path, tmp_path).load_target()
    torch.testing.assert_close(
        dict(loaded.model.named_parameters()), dict(model.named_parameters())
    )
    whole = shards[1].read_bytes()
    shards[1].write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=f"{shards[1].name} is damaged or cut short"):
        open_pair(tmp_path, tmp_path)
    shards[1].unlink()
    with pytest.raises(UserError, match=f"{shards[1].name} is missing"):
        open_pair(tmp_path, tmp_path)


def test_weights_that_are_not_the_configs_are_refused(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    make_model(len(tokenizer), layers=2, seed=1).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(UserError, match=r"missing or of another shape.*layers\.2"):
        open_pair(tmp_path, tmp_path).load_target()


def test_damaged_index_and_models_of_other_kinds_are_refused(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    make_model(len(tokenizer), layers=1, seed=1).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text("{")
    with pytest.raises(UserError, match=r"model\.safetensors\.index\.json is damaged"):
        open_pair(tmp_path, tmp_path)
    index.unlink()
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(UserError, match="a clip model, which is no causal language model"):
        open_pair(tmp_path, tmp_path)


def test_differently_padded_embeddings_of_one_tokenizer(tmp_path: Path) -> None:
    """As DeepSeek-Coder's: 32,022 tokens in embeddings of 32,256."""
    tokenizer = make_tokenizer()
    for name, padded, seed in (("target", 320, 1), ("draft", 304, 1)):
        make_model(padded, layers=2, seed=seed).save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    pair = open_pair(tmp_path / "target", tmp_path / "draft")
    target, draft = pair.load_target(), pair.load_draft()
    assert target.vocab_size == draft.vocab_size == len(tokenizer)
    assert acceptance(pair, prompts=2)[2] == 2


def test_special_tokens_that_one_tokenizer_has_beyond_the_other(tmp_path: Path) -> None:
    """As CodeLlama's 7B and 70B: the shared part counts, ordinary tokens must all be shared."""
    plain, extended = make_tokenizer(), make_tokenizer()
    extended.add_special_tokens({"additional_special_tokens": ["<step>", "<pre>"]})
    for name, tokenizer in (("target", extended), ("draft", plain)):
        make_model(len(tokenizer), layers=1, seed=1).save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    pair = open_pair(tmp_path / "target", tmp_path / "draft")
    target, draft = pair.load_target(), pair.load_draft()
    # The target keeps its own tokens, or its output would depend on the draft model.
    assert target.vocab_size == draft.vocab_size == len(extended)
    logits = draft.extend([1, len(plain)], rows=1)
    assert logits.shape == (1, len(extended))
    assert logits[0, len(plain) :].isneginf().all()
    assert logits[0, : len(plain)].isfinite().all()
    assert acceptance(pair, prompts=3)[2] == 3


def llama3_style() -> PreTrainedTokenizerFast:
    """Byte-level BPE that puts a begin-of-text token before every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|begin_of_text|>", "<|eot_id|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["some text"], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{special[0]} $A", special_tokens=[(special[0], 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=special[0], eos_token=special[1]
    )


def llama2_style() -> PreTrainedTokenizerFast:
    """SentencePiece-like BPE: spaces as ▁, byte fallback, a prefix space, and <s> before a text."""
    special = ["<unk>", "<s>", "</s>"]
    pieces = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *"▁abdefmnortux():", "an"]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(
        models.BPE(vocabulary, [("a", "n")], byte_fallback=True, unk_token="<unk>")
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


@pytest.mark.parametrize("make", [llama2_style, llama3_style])
@pytest.mark.parametrize("continuation", [" and more", "\n    return x", "é 数"])
def test_text_continues_the_prompt_exactly(
    make: Callable[[], PreTrainedTokenizerFast], continuation: str
) -> None:
    tokenizer = make()
    pair = Pair(tokenizer, {}, (), pytest.fail, pytest.fail)
    prompt = pair.encode("def f(x):")
    assert prompt[0] == tokenizer.bos_token_id
    whole = pair.encode("def f(x):" + continuation)
    if whole[: len(prompt)] != prompt:
        pytest.skip("the tokenizer merges across the border")
    assert pair.decode(prompt, whole[len(prompt) :]) == continuation


def controlled(small_pair: SmallPair, **settings: float) -> Pair:
    draft = ModelConfig(str(small_pair.folder / "draft"))
    return Controlled(draft=draft, **settings).open(CPU, uses_draft=True)  # type: ignore[arg-type]


def test_controlled_pair_without_perturbation_always_agrees(small_pair: SmallPair) -> None:
    pair = controlled(small_pair, depth=3, perturbation=0.0)
    accepted, judged, same = acceptance(pair, prompts=2)
    assert accepted == judged and same == 2
    assert pair.load_target().model.config.num_hidden_layers == 2 + 3


def test_perturbation_lowers_acceptance_and_depth_does_not(small_pair: SmallPair) -> None:
    def rate(**settings: float) -> float:
        accepted, judged, same = acceptance(controlled(small_pair, **settings))
        assert same == 6
        return accepted / judged

    rates = [rate(depth=4, perturbation=p) for p in (0.02, 0.2, 1.0)]
    assert rates == sorted(rates, reverse=True) and rates[0] - rates[-1] > 0.3
    assert abs(rate(depth=12, perturbation=0.2) - rates[1]) < 0.2


def test_controlled_pair_is_the_same_each_time(small_pair: SmallPair) -> None:
    first, second = (controlled(small_pair, depth=2).load_target() for _ in range(2))
    ours, theirs = (model.extend(PROMPT, rows=5) for model in (first, second))
    assert torch.equal(ours, theirs)


def synthetic(small_pair: SmallPair, rate: float) -> Pair:
    shape = LlamaShape(32, 64, 2, 4, 2, 1024)
    source = Synthetic(
        target=shape,
        draft=shape,
        vocab_size=500,
        acceptance_rate=rate,
        tokenizer=ModelConfig(str(small_pair.folder / "target")),
    )
    return source.open(CPU, uses_draft=True)


@pytest.mark.parametrize("rate", [0.0, 0.6, 0.9, 1.0])
def test_synthetic_pair_has_the_acceptance_rate_asked_for(
    small_pair: SmallPair, rate: float
) -> None:
    accepted, judged, same = acceptance(synthetic(small_pair, rate), prompts=10, tokens=100)
    assert same == 10
    # Four standard errors of a binomial.
    assert abs(accepted / judged - rate) <= 4 * (rate * (1 - rate) / judged) ** 0.5


def test_synthetic_text_depends_on_what_came_before(small_pair: SmallPair) -> None:
    """So that a decoder with a wrong token, or one out of place, is found out."""
    target = synthetic(small_pair, 0.8).load_target()
    first = int(target.extend(PROMPT, rows=1).argmax())
    target.rollback(0)
    assert first != int(target.extend([*PROMPT[:-1], 77], rows=1).argmax())
    target.rollback(0)
    assert first != int(target.extend(PROMPT[1:], rows=1).argmax())


def test_synthetic_heads_can_be_wider_than_the_hidden_size_says() -> None:
    """As Qwen3's are: 4 heads of 16 in a model of width 32, and 2 of keys and of values."""
    wide = LlamaShape(32, 64, 2, 4, 2, 1024, head_dim=16)
    sizes = Synthetic(target=wide, draft=LlamaShape(32, 64, 2, 4, 2, 1024), vocab_size=500).sizes()
    assert (sizes["target"].cached, sizes["draft"].cached) == (2 * 2 * 2 * 16, 2 * 2 * 2 * 8)


def test_synthetic_trees_are_predicted_as_texts_are(small_pair: SmallPair) -> None:
    target = synthetic(small_pair, 0.8).load_target()
    tree = Tree()
    node = tree.add(8, tree.add(5))
    logits = target.extend_tree([1, 2, 3], tree, [ROOT, node])
    target.rollback(0)
    expected = target.extend([1, 2, 3, 5, 8], rows=3)[[0, 2]]
    assert logits.argmax(-1).tolist() == expected.argmax(-1).tolist()


def test_synthetic_runs_are_labelled_and_still_checked(run_cli: Run, tmp_path: Path) -> None:
    shape = [f"pair.{role}.num_hidden_layers=1" for role in ("target", "draft")]
    command = ["pair=synthetic", *shape, "task.limit=2", "task.max_new_tokens=12"]
    code, out, _ = run_cli(*command, "decoder=pearl", "hydra.run.dir=run", small_pair=False)
    assert code == 0
    assert "identical 2/2" in out and "tokens are made up" in out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["synthetic"] and summary["accuracy"] is None
    record = json.loads((tmp_path / "run" / "records.jsonl").read_text().splitlines()[0])
    assert record["text"] == "" and record["correct"] is None
    conf = f"--config-dir={Path(__file__).parents[1] / 'conf'}"
    code, _, err = run_cli(*command, conf, "decoder=liar", "hydra.run.dir=lie", small_pair=False)
    assert code == 1 and "position 9" in err


def read_source(name: str, *values: str) -> PairSource:
    register()
    node = OmegaConf.load(config_dir() / "pair" / f"{name}.yaml")
    node.merge_with_dotlist(list(values))
    assert isinstance(node, DictConfig)
    if "seed" in node:
        node.seed = 0
    return build("pair", node, PairSource)


@pytest.mark.parametrize(
    ("name", "pearl", "speculative", "cards"),
    [
        ("codellama_7b_34b", 3, 6, 2),
        ("codellama_7b_70b", 5, 10, 3),
        ("llama2_7b_70b", 5, 10, 3),
        ("llama31_8b_70b", 5, 10, 3),
        ("deepseek_1b_33b", 4, 8, 2),
        ("deepseek_6b_33b", 3, 6, 2),
    ],
)
def test_the_papers_pairs(name: str, pearl: int, speculative: int, cards: int) -> None:
    source = read_source(name)
    assert isinstance(source, Pretrained)
    assert source.gamma == {"pearl": pearl, "speculative": speculative}
    assert source.dtype.value == "bfloat16"
    assert source.target.gpus + source.draft.gpus == cards
    assert source.target.revision and source.draft.revision


def test_every_other_pair_is_well_formed() -> None:
    for path in (config_dir() / "pair").glob("*.yaml"):
        if "defaults" not in path.read_text() and path.stem != "own":
            read_source(path.stem)


def test_a_pair_of_ones_own_has_its_draft_lengths_chosen() -> None:
    source = read_source("own", "target.path=/a", "draft.path=/b")
    assert source.gamma == {"pearl": AUTO, "speculative": AUTO}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("generation_config.json", '{"eos_token_id": [0'),
        ("generation_config.json", "[]"),
        ("generation_config.json", '{"max_new_tokens": -1}'),
        ("generation_config.json", '{"eos_token_id": "x"}'),
        ("config.json", '{"model_type": "llama", "hidden_size": "x"}'),
        ("tokenizer.json", "{}"),
    ],
)
def test_a_damaged_file_of_a_model_is_a_clear_word(
    small_pair: SmallPair, tmp_path: Path, file: str, content: str
) -> None:
    """Not other stop tokens, nor a traceback."""
    folder = shutil.copytree(small_pair.folder / "target", tmp_path / "target")
    (folder / file).write_text(content)
    source = Pretrained(target=ModelConfig(str(folder)), draft=ModelConfig(str(folder)))
    with pytest.raises(UserError, match=r"pair.target.path=.*could not be read"):
        source.open(Devices(("cpu",), ("cpu",)), uses_draft=False)


def test_a_draft_model_that_nothing_uses_needs_no_name(small_pair: SmallPair) -> None:
    source = Pretrained(target=ModelConfig(str(small_pair.folder / "target")))
    pair = source.open(CPU, uses_draft=False)
    assert source.sizes() == pair.sizes == {"target": pair.sizes["target"]}
    with pytest.raises(UserError, match=r"pair\.draft names no model: give a folder or hub id by"):
        source.open(CPU, uses_draft=True)


@pytest.mark.parametrize("kind", [Controlled, Synthetic])
def test_a_seed_that_no_generator_takes_is_refused(kind: type[PairSource]) -> None:
    with pytest.raises(ValueError, match=r"pair.seed must be from 0 to 2\^63 - 1, got -1"):
        kind(seed=-1)


def test_without_a_generation_config_the_tokenizer_says_what_ends_a_text(
    small_pair: SmallPair, tmp_path: Path
) -> None:
    folder = shutil.copytree(small_pair.folder / "target", tmp_path / "target")
    (folder / "generation_config.json").unlink(missing_ok=True)
    source = Pretrained(target=ModelConfig(str(folder)), draft=ModelConfig(str(folder)))
    pair = source.open(Devices(("cpu",), ("cpu",)), uses_draft=False)
    ends = pair.tokenizer.eos_token_id
    assert pair.stop_ids == (() if ends is None else (ends,))


@pytest.mark.parametrize(
    ("ends", "expected"), [(None, ["<|eos|>", "<|end|>"]), ([7, 9], [7, 9, "<|eos|>", "<|end|>"])]
)
def test_the_tokenizer_and_its_chat_template_have_a_say_in_what_ends_a_text(
    tmp_path: Path, ends: list[int] | None, expected: list[int | str]
) -> None:
    """As early Llama 3, whose generation config had the end of text alone."""
    tokenizer = make_tokenizer(["<|end|>"])
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}<|end|>{% endfor %}"
    model = make_model(len(tokenizer), layers=1, seed=0)
    model.generation_config.eos_token_id = ends
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    source = Pretrained(target=ModelConfig(str(tmp_path)), draft=ModelConfig(str(tmp_path)))
    pair = source.open(Devices(("cpu",), ("cpu",)), uses_draft=False)
    ids = [x if isinstance(x, int) else tokenizer.convert_tokens_to_ids(x) for x in expected]
    assert list(pair.stop_ids) == ids


def test_gpus_go_to_the_draft_model_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def choose(gpus: int) -> Devices:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        return Devices.choose("auto", "auto", target_gpus=2, draft_gpus=1)

    assert choose(0) == Devices(("cpu",), ("cpu",))
    assert choose(1) == Devices(("cuda:0",), ("cuda:0",))
    assert choose(2) == Devices(("cuda:0", "cuda:1"), ("cuda:0",))
    assert choose(3) == Devices(("cuda:1", "cuda:2"), ("cuda:0",))
    assert choose(4) == Devices(("cuda:1", "cuda:2"), ("cuda:0",))


def test_memory_is_estimated_and_refused_before_loading(small_pair: SmallPair) -> None:
    model = small_pair.load_target().model
    weights = sum(p.numel() for p in model.parameters())
    # 2 layers × keys and values × 2 heads of 8 × 2,048 tokens.
    assert model_bytes(ModelSize.of(model.config), torch.bfloat16) == 2 * (
        weights + 2 * 2 * 16 * 2048
    )
    check_fits({"target": (("cpu",), 1000), "draft": (("cpu",), 1000)})
    with pytest.raises(UserError, match=r"not enough memory on cpu: about 1048576\.0 GiB"):
        check_fits({"target": (("cpu",), 2**50 - 2**30), "draft": (("cpu",), 2**30)})


@pytest.mark.parametrize("roles", [["target", "draft"], ["target"]])
def test_the_models_that_are_used_must_fit_the_memory_there_is(
    small_pair: SmallPair, monkeypatch: pytest.MonkeyPatch, roles: list[str]
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(setup, "check_fits", asked.append)
    node = OmegaConf.create(
        {
            "_target_": "pearl_eval.pairs.controlled.Controlled",
            "draft": {"path": str(small_pair.folder / "draft")},
            "depth": 2,
        }
    )
    sizes = setup.Setup.make(node, RuntimeConfig(), "draft" in roles).pair.sizes
    assert sizes["draft"].weights < sizes["target"].weights
    assert asked == [{role: (("cpu",), model_bytes(sizes[role], torch.float32)) for role in roles}]


BAD_PAIRS = {
    "pair=controlled pair.depth=0": "pair.depth must be at least 1 layer, got 0",
    "pair=controlled pair.perturbation=-1": "pair.perturbation must be at least 0",
    "pair=synthetic pair.acceptance_rate=1.5": "is a probability, from 0 to 1, got 1.5",
    "pair=synthetic pair.vocab_size=100": "pair.vocab_size=100 is less than the",
    "pair=synthetic runtime.fixed_window=true": "a synthetic pair makes its tokens up",
    "pair=synthetic_llama2_7b_70b": "not enough memory on cpu: about 14",
}


@pytest.mark.parametrize(("arguments", "message"), BAD_PAIRS.items(), ids=list(BAD_PAIRS))
def test_bad_pairs_are_one_clear_line(run_cli: Run, arguments: str, message: str) -> None:
    code, _, err = run_cli(*arguments.split(), small_pair=False)
    assert code == 2
    assert message in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("file", "changes", "what"),
    [
        (
            "config.json",
            {
                "model_type": "mine",
                "auto_map": {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"},
            },
            "config",
        ),
        (
            "tokenizer_config.json",
            {"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": ["mine.Mine", "mine.Mine"]}},
            "tokenizer",
        ),
    ],
)
def test_code_that_comes_with_a_model_is_never_run(
    small_pair: SmallPair,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    changes: dict[str, Any],
    what: str,
) -> None:
    shutil.copytree(small_pair.folder / "target", tmp_path, dirs_exist_ok=True)
    content = json.loads((tmp_path / file).read_text())
    (tmp_path / file).write_text(json.dumps(content | changes))
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w').close()")
    monkeypatch.setattr("builtins.input", lambda *prompt: "y")
    with pytest.raises(UserError, match=f"its {what} is read by code .* never run"):
        open_pair(tmp_path, tmp_path)
    assert not (tmp_path / "marker").exists()


def test_pickled_weights_are_never_read(small_pair: SmallPair, tmp_path: Path) -> None:
    shutil.copytree(small_pair.folder / "target", tmp_path, dirs_exist_ok=True)
    model = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    torch.save(model, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"no \*\.safetensors weights there"):
        open_pair(tmp_path, tmp_path)


def named(tmp_path: Path, files: dict[str, bytes]) -> str:
    """The fingerprint of a folder that has these files alone."""
    folder = tmp_path / "model"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder_fingerprint(folder)


def test_a_fingerprint_is_of_names_sizes_and_contents(tmp_path: Path) -> None:
    """Of weights and the config, in the order of their names, and of nothing else."""
    files = {"config.json": b"{}", "b.safetensors": b"two", "a.safetensors": b"one"}
    found = hashlib.sha256(b"a.safetensors 3\noneb.safetensors 3\ntwoconfig.json 2\n{}")
    mark = found.hexdigest()[:16]
    assert named(tmp_path, files) == named(tmp_path, files | {"other.txt": b"x"}) == mark
    for name in files:
        assert named(tmp_path, files | {name: b"tw0"}) != mark
    renamed = {name.replace("a.", "c."): content for name, content in files.items()}
    assert named(tmp_path, renamed) != mark


@pytest.mark.parametrize(
    ("size", "at", "seen"),
    [
        # All of 4 MiB, which are 64 blocks of 64 KiB.
        (2**22, 0, True),
        (2**22, 2**16 - 1, True),
        (2**22, 2**16, True),
        (2**22, 2**22 - 1, True),
        # Of 8 MiB every second block.
        (2**23, 2**16 - 1, True),
        (2**23, 2**16, False),
        (2**23, 2**17, True),
        (2**23, 2**23 - 2**17, True),
    ],
)
def test_a_fingerprint_reads_64_blocks_of_a_large_file(
    tmp_path: Path, size: int, at: int, seen: bool
) -> None:
    plain = bytes(size)
    other = plain[:at] + b"x" + plain[at + 1 :]
    marks = [
        named(tmp_path, {"config.json": b"{}", "model.safetensors": one}) for one in (plain, other)
    ]
    assert (marks[0] != marks[1]) is seen


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"path": "some/model", "package": None, "gguf_file": None}, "some/model"),
        ({"path": "some/model", "gguf_file": "x.gguf"}, "some/model/x.gguf"),
        ({"path": None, "package": "a_package"}, "a_package"),
        ({"package": ["part1", "part2"]}, "part1, part2"),
    ],
)
def test_what_a_target_is_called(settings: dict[str, Any], name: str) -> None:
    assert model_name({"model": settings, "dtype": "float32"}) == name
    assert model_name({"depth": 3}) == model_name({"model": None}) == ""
    assert model_name({"draft": settings, "depth": 3}) == f"{name} and 3 further layers"


def test_what_is_a_folder_here_and_what_an_id_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ("/a", "./a", "../a/b", "~/a", "a/b/c"):
        assert is_local(path)
    assert not is_local("some/model") and not is_local("model")
    (tmp_path / "some" / "model").mkdir(parents=True)
    assert is_local("some/model") and is_local("some")


def pair_of(target: int, draft: int) -> Pair:
    """With contexts of so many tokens."""
    sizes = {
        role: ModelSize(1, 2, 3, 4, one) for role, one in (("target", target), ("draft", draft))
    }
    return Pair(make_tokenizer(), sizes, (0, 7), pytest.fail, pytest.fail)


@pytest.mark.parametrize(
    ("contexts", "lengths", "new", "answers", "said"),
    [
        ((100, 100), {"a": 90}, 10, 1, ""),
        ((100, 100), {"a": 80}, 10, 2, ""),
        (
            (100, 99),
            {"a": 90, "b": 20},
            10,
            1,
            "a: a prompt of 90 tokens and task.max_new_tokens=10 do not fit the draft model's"
            " context of 99 tokens; lower task.max_new_tokens to at most 9",
        ),
        # As the longest prompt allows, though another is the first that does not fit.
        (
            (100, 200),
            {"a": 60, "b": 80},
            50,
            1,
            "a: a prompt of 60 tokens and task.max_new_tokens=50 do not fit the target model's"
            " context of 100 tokens; lower task.max_new_tokens to at most 20",
        ),
        (
            (100, 200),
            {"a": 59},
            21,
            2,
            "a: a prompt of 59 tokens and 2 answers of task.max_new_tokens=21 do not fit the target"
            " model's context of 100 tokens; lower task.max_new_tokens to at most 20",
        ),
        (
            (100, 200),
            {"a": 99},
            1,
            2,
            "a: a prompt of 99 tokens and 2 answers of task.max_new_tokens=1 do not fit the target"
            " model's context of 100 tokens; take a model with a longer context",
        ),
    ],
)
def test_prompts_must_leave_room_for_what_is_new(
    contexts: tuple[int, int], lengths: dict[str, int], new: int, answers: int, said: str
) -> None:
    pair = pair_of(*contexts)
    if not said:
        pair.check_context(lengths, new, answers)
        return
    with pytest.raises(UserError) as error:
        pair.check_context(lengths, new, answers)
    assert str(error.value) == said


def test_an_answer_goes_up_to_what_ends_it() -> None:
    """Tokens that the tokenizer does not have are of a synthetic pair, and count from 0 again."""
    pair = pair_of(9, 9)
    ids = pair.encode(" def")
    for end in (0, 7):
        assert pair.answer([*ids, end, *ids]) == "def"
    assert pair.answer([one + len(pair.tokenizer) for one in ids]) == "def"
    assert pair.answer([0, *ids]) == ""


def test_a_text_that_does_not_begin_with_its_prompt_is_decoded_alone() -> None:
    class Joining:
        def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
            assert skip_special_tokens
            return {1: "e", 2: "\u0301"}[ids[0]] if len(ids) == 1 else "\u00e9"

    joining: Any = Joining()
    pair = Pair(joining, {}, (), pytest.fail, pytest.fail)
    assert pair.decode([1], [2]) == "\u0301"


def test_each_model_has_as_many_gpus_as_it_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Pretrained(target=ModelConfig("/t", gpus=3), draft=ModelConfig("/d", gpus=2))
    alone = Pretrained(target=ModelConfig("/t"), draft=ModelConfig("/d"))
    assert source.gpus() == {"target": 3, "draft": 2}
    assert alone.gpus() == Controlled(draft=ModelConfig("/d")).gpus() == {"target": 0, "draft": 0}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 6)
    runtime = RuntimeConfig(gpus=[5, 4, 3, 2, 1])
    assert source.choose_devices(runtime) == Devices(
        ("cuda:3", "cuda:2", "cuda:1"), ("cuda:5", "cuda:4")
    )
    assert alone.choose_devices(runtime) == Devices(("cuda:4",), ("cuda:5",))
    named = RuntimeConfig(target_device="cuda:2", draft_device="cpu")
    assert source.choose_devices(named) == Devices(("cuda:2",), ("cpu",))
    other = Controlled(draft=ModelConfig("/d"))
    assert other.choose_devices(runtime) == Devices(("cuda:4",), ("cuda:5",))
    assert other.choose_devices(named) == Devices(("cuda:2",), ("cpu",))


def test_what_a_target_depends_on_has_nothing_of_the_draft_model() -> None:
    model, other = ModelConfig("/t", "abc", 2), ModelConfig("/d")
    assert Pretrained(target=model, draft=other).target_settings() == {
        "model": {
            "path": "/t", "revision": "abc", "gpus": 2, "gguf_file": None, "package": None,
        },
        "dtype": "float32",
    }  # fmt: skip
    made_up = Synthetic(acceptance_rate=0.5, tokenizer=other).target_settings()
    assert made_up.keys() == {"dtype", "target", "vocab_size", "seed", "tokenizer"}
    assert made_up["target"]["num_hidden_layers"] == 8
    deeper = Controlled(draft=other).target_settings()
    assert {"draft", "depth", "perturbation", "seed"} <= deeper.keys() and "gamma" not in deeper


class Forwards:
    """A model that says how its forwards were asked to be."""

    def __init__(self, device: str, fails: bool = False) -> None:
        self.device, self.fails = torch.device(device), fails
        self.asked: list[bool] = []

    def fuse(self, static: bool) -> None:
        self.asked.append(static)
        if self.fails:
            raise ValueError("no such layers")


@pytest.mark.parametrize(
    ("kind", "device", "asked"),
    [
        ("auto", "cpu", [False]),
        ("auto", "cuda", []),
        ("transformers", "cpu", []),
        ("transformers", "cuda", []),
        ("fused", "cpu", [False]),
        ("fused", "cuda", [False]),
        ("cuda_graphs", "cuda", [True]),
    ],
)
def test_how_forwards_are_computed(kind: str, device: str, asked: list[bool]) -> None:
    model: Any = Forwards(device)
    assert setup._with_forward(model, ForwardKind(kind)) is model
    assert model.asked == asked
    failing: Any = Forwards(device, fails=True)
    if kind in ("fused", "cuda_graphs"):
        with pytest.raises(UserError, match=rf"^runtime\.forward={kind}: no such layers; choose"):
            setup._with_forward(failing, ForwardKind(kind))
    else:
        assert setup._with_forward(failing, ForwardKind(kind)) is failing


def made_up(pair: Pair, **more: Any) -> setup.Setup:
    nothing: Any = None
    return setup.Setup(nothing, pair, CPU, nothing, RuntimeConfig(**more))


def test_what_is_made_up_is_saved_while_an_engine_loads_it(small_pair: SmallPair) -> None:
    saved = []

    def load(layers: int) -> Callable[[], Any]:
        model = SimpleNamespace(save_pretrained=lambda folder: saved.append((layers, folder)))
        return lambda: SimpleNamespace(model=model)

    target, draft = load(2), load(1)
    place = Checkpoint("/here", "abc")
    pair = Pair(make_tokenizer(), {}, (), target, draft, checkpoints={"target": place})
    with made_up(pair).checkpoint("target") as where:
        assert where == place and not saved
    pair = replace(pair, checkpoints={})
    for role, layers in (("target", 2), ("draft", 1)):
        with made_up(pair).checkpoint(role) as where:
            assert saved.pop() == (layers, where.location)
            assert (Path(where.location) / "tokenizer.json").is_file()
        assert not Path(where.location).exists()
    with (
        pytest.raises(UserError, match="no engine but ours can decode it"),
        made_up(replace(pair, synthetic=True)).checkpoint("target"),
    ):
        pass


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"depth": 0}, "pair.depth must be at least 1 layer, got 0"),
        ({"perturbation": -0.1}, "pair.perturbation must be at least 0, got -0.1"),
        ({"perturbation": float("inf")}, "pair.perturbation must be at least 0, got inf"),
        ({"context": 0}, "pair.context must be at least 1 token, got 0"),
    ],
)
def test_settings_of_a_controlled_pair_have_limits(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}$"):
        Controlled(**settings)
    Controlled(depth=1, perturbation=0.0, context=1)


def test_added_layers_are_of_the_last_ones_kind() -> None:
    kinds = ["full_attention", "sliding_attention"]
    config = Qwen3Config(num_hidden_layers=2, layer_types=kinds, sliding_window=4)
    deeper = controlled_pairs._deeper(config, 2)
    assert deeper.num_hidden_layers == 4 and config.num_hidden_layers == 2
    assert deeper.layer_types == [*kinds, "sliding_attention", "sliding_attention"]


def test_an_added_layer_changes_the_stream_by_its_share() -> None:
    """Two layers with two outputs each: a perturbation of 0.2 is 0.2 ÷ √4 of the stream for each.

    What is behind the first output has other inputs once that is scaled.
    """
    model = make_model(300, layers=3, seed=0).eval()
    ids = torch.tensor([[5, 6, 7, 8]])
    sizes = []

    def measure(module: Any, inputs: Any, output: Any = None) -> None:
        given = inputs[0] if output is None else output
        sizes.append(float(given.square().mean().sqrt()))

    with torch.inference_mode():
        controlled_pairs._scale(model, 1, ids, 0.2)
        first = model.model.layers[1]
        first.register_forward_pre_hook(measure)
        first.self_attn.o_proj.register_forward_hook(measure)
        model(ids)
    stream, added = sizes
    assert added / stream == pytest.approx(0.1, rel=1e-4)


def test_a_controlled_pair_reads_longer_texts_where_it_is_told_to(small_pair: SmallPair) -> None:
    pair = controlled(small_pair, depth=1, context=5000)
    assert pair.contexts == {"target": 5000, "draft": 5000}
    assert pair.load_draft().model.config.max_position_embeddings == 5000
    assert controlled(small_pair, depth=1).contexts == {"target": 2048, "draft": 2048}


@pytest.mark.parametrize(
    ("draft", "said"),
    [
        ({"a": 0, "b": 1}, "draft and target have one vocabulary"),
        ({"c": 0, "d": 1}, "draft and target have no token in common"),
        ({"b": 0, "a": 1}, ""),
        ({"b": 0, "c": 1}, ""),
    ],
)
def test_vocabularies_of_ones_own_have_something_in_common(
    draft: dict[str, int], said: str
) -> None:
    target, other = (
        PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(one)))
        for one in ({"a": 0, "b": 1}, draft)
    )
    if not said:
        check_apart(target, other)
        return
    with pytest.raises(UserError, match=said):
        check_apart(target, other)


def test_sizes_are_told_before_a_pair_is_opened(small_pair: SmallPair) -> None:
    tokenizer = ModelConfig(str(small_pair.folder / "target"))
    draft = LlamaShape(32, 64, 1, 4, 2, 512)
    for source in (
        Controlled(draft=ModelConfig(str(small_pair.folder / "draft")), depth=2),
        Synthetic(target=LlamaShape(64, 64, 2, 4, 2, 1024), draft=draft, tokenizer=tokenizer),
    ):
        sizes = source.sizes()
        assert sizes == source.open(CPU, uses_draft=True).sizes
        assert sizes["target"].weights > sizes["draft"].weights
    assert source.open(CPU, uses_draft=False).sizes == {"target": sizes["target"]}


def test_weights_of_the_hub_are_told_by_their_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_pair: SmallPair
) -> None:
    """By the cache's own names, which no library has to tell."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--some--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(small_pair.folder / "target", repository / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for revision in (None, "main", commit):
        assert weights_mark("target", ModelConfig("some/model", revision)) == f"commit {commit}"
    assert weights_mark("target", ModelConfig("some/other", "abc")) == "some/other, revision abc"


def test_the_tokens_of_a_small_head_tell_a_model_from_others(
    small_pair: SmallPair, tmp_path: Path
) -> None:
    folder = shutil.copytree(small_pair.folder / "draft", tmp_path / "draft")
    marks = {folder_fingerprint(folder)}
    for tokens in ([1, 2], [1, 3]):
        write_frequent(folder, torch.tensor(tokens))
        marks.add(folder_fingerprint(folder))
    assert len(marks) == 3


def test_a_draft_model_that_is_cut_short_is_named(small_pair: SmallPair, tmp_path: Path) -> None:
    draft = shutil.copytree(small_pair.folder / "draft", tmp_path / "draft")
    path = draft / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"model\.safetensors is damaged or cut short"):
        open_pair(small_pair.folder / "target", draft)


def test_a_controlled_target_has_a_whole_head(small_pair: SmallPair, tmp_path: Path) -> None:
    draft = shutil.copytree(small_pair.folder / "draft", tmp_path / "draft")
    write_frequent(draft, torch.arange(50))
    pair = Controlled(draft=ModelConfig(str(draft)), depth=1).open(CPU, uses_draft=True)
    rows = load_file(draft / "model.safetensors")
    head = rows.get("lm_head.weight", rows["model.embed_tokens.weight"])
    assert torch.equal(pair.load_target().model.lm_head.weight, head)


class Splitting:
    """A tokenizer with a beginning of text, which makes control tokens of some texts or of none."""

    def __init__(self, in_any_case: bool) -> None:
        self.in_any_case = in_any_case
        self.added_tokens_decoder = {
            0: SimpleNamespace(content="<s>", special=True),
            1: SimpleNamespace(content="<t>", special=False),
        }

    def __call__(self, text: str, verbose: bool, split_special_tokens: bool) -> Any:
        assert split_special_tokens and not verbose
        control = [0] * text.count("<s>") if self.in_any_case else []
        return SimpleNamespace(input_ids=[0, *[1] * text.count("<t>"), *control, 9])


def test_what_looks_like_a_control_token_is_text_or_refused() -> None:
    def pair(in_any_case: bool) -> Pair:
        tokenizer: Any = Splitting(in_any_case)
        return Pair(tokenizer, {}, (), pytest.fail, pytest.fail)

    assert pair(False).encode("a<s>") == [0, 9]
    assert pair(True).encode("a<t>") == [0, 1, 9]
    for name in ("the prompt", "T/1"):
        with pytest.raises(
            UserError, match=rf"^{name}: it has '<s>', of which the pair's tokenizer"
        ):
            pair(True).encode("a<s>", *([name] if name == "T/1" else []))


def test_what_a_decoder_is_given_of_a_pair() -> None:
    ours, theirs = make_tokenizer(), make_tokenizer()
    pair = Pair(ours, {}, (), pytest.fail, pytest.fail, draft_tokenizer=theirs)
    devices = Devices(("cuda:1", "cuda:2"), ("cuda:3", "cuda:4"))
    nothing: Any = None
    target: Any = "target"
    processes: Any = SimpleNamespace(target="target's", draft="draft's")
    own = setup.Setup(nothing, pair, devices, processes, RuntimeConfig(), engine=("cuda:5",))
    made = own.models(target)
    found: list[Any] = [made.target, made.target_process, made.draft_process]
    assert found == ["target", "target's", "draft's"]
    assert (made.engine, made.draft_device) == (("cuda:5",), "cuda:3")
    assert made.tokenizers == (ours, theirs)
    assert made.encode("def") == ours("def").input_ids
    splitting: Any = Splitting(True)
    with pytest.raises(UserError, match=r"^decoder\.corpus: it has '<s>'"):
        replace(own, pair=replace(pair, tokenizer=splitting)).models(target).encode("<s>")


def test_a_pair_is_opened_anew_on_other_devices_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def opened(*given: Any) -> str:
        asked.append(given)
        return "anew"

    monkeypatch.setattr(setup, "_opened", opened)
    source: Any = "source"
    pair: Any = "pair"
    here, there = (Processes.choose(RuntimeConfig(), all_cpu=one) for one in (True, False))
    own = setup.Setup(source, pair, CPU, here, RuntimeConfig(), uses_draft=False, apart=True)
    places = setup.Places(CPU, there, ("cuda:3",))
    moved = own.moved(places)
    assert (moved.pair, moved.places, asked) == ("pair", places, [])
    other = setup.Places(Devices(("cuda:0",), ("cpu",)), there)
    moved = own.moved(other)
    assert (moved.pair, moved.places) == ("anew", other)
    assert asked == [("source", other.devices, False, True)]


def test_an_engines_gpus_are_those_of_the_runtime_it_goes_by(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The target's own first, then those that the draft model is not on."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    chosen = Devices(("cuda:0",), ("cuda:1",))
    source: Any = SimpleNamespace(choose_devices=lambda runtime: chosen)
    nothing: Any = None
    here = Processes.choose(RuntimeConfig(), all_cpu=True)
    own = setup.Setup(source, nothing, CPU, here, RuntimeConfig(gpus=[3, 2])).with_engine(2)
    assert (own.engine, own.engine_gpus) == (("cuda:3", "cuda:2"), 2)
    other = RuntimeConfig(gpus=[1, 2])
    expected = setup.Places(chosen, Processes.choose(other, False), ("cuda:0", "cuda:2"))
    assert own.places_in(other) == expected


def test_the_oracle_says_by_a_published_generator() -> None:
    """What SplitMix64 gives first from seeds 0 and 1; further numbers are added to what it gave."""
    assert synthetic_pairs._mix(0) == 0xE220A8397B1DCDAF
    assert synthetic_pairs._mix(1) == 0x910A2DEC89025CC1
    folded = (0xE220A8397B1DCDAF + 5) % 2**64
    assert synthetic_pairs._mix(0, 5) == synthetic_pairs._mix(folded)


def test_where_the_draft_model_is_wrong_any_other_token_comes() -> None:
    def said(agreement: float, seed: int = 3) -> list[int]:
        model: Any = synthetic_pairs.SyntheticModel.__new__(synthetic_pairs.SyntheticModel)
        model._seed, model._agreement, model.vocab_size = seed, agreement, 10
        return [model.predict(position, 4) for position in range(400)]

    target = said(1.0)
    assert set(target) == set(range(10)) and target != said(1.0, seed=4)
    apart = {(one - other) % 10 for one, other in zip(said(0.0), target, strict=True)}
    assert apart == set(range(1, 10))
    right = sum(one == other for one, other in zip(said(0.75), target, strict=True))
    # Five standard deviations of a binomial.
    assert abs(right - 300) < 5 * (400 * 0.75 * 0.25) ** 0.5
