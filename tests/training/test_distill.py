"""``pearl-eval distill``, from prompts to a draft model that decoders use."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from omegaconf import OmegaConf
from safetensors import safe_open
from safetensors.torch import load, load_file, save_file
from small_pair import SmallPair, make_model, make_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from pearl_eval.config.paths import config_dir
from pearl_eval.errors import UserError
from pearl_eval.pairs.controlled import Controlled
from pearl_eval.pairs.frequent_tokens import FREQUENT
from pearl_eval.results.journal import held
from pearl_eval.training import corpus as corpora
from pearl_eval.training import fitting
from pearl_eval.training.card import write_card
from pearl_eval.training.config import DraftConfig, FitConfig, Loss, TextConfig
from pearl_eval.training.distill import LEARNED, _begun, _check, _fitted, _note, _results, _tell
from pearl_eval.training.fitting import Fitted
from pearl_eval.training.held_back import HeldBack
from pearl_eval.training.made_texts import SETTINGS, TEXTS, as_saved, made_texts
from pearl_eval.training.target_text import TargetText, load_texts
from tasks.task import Problem

#: What all of these have in common: little of everything.
SMALL = ("pair.dtype=float32", "text.new_tokens=12", "text.longest=48", "text.batch=8")
FIT = ("draft.depth=1", "draft.head=200", "fit.steps=6", "fit.tokens=120", "fit.every=4")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("".join(f"def f{n}(x): return x + {n}\n" for n in range(24)))
    return path


@pytest.fixture
def distil(run_command: Any, small_pair: SmallPair, prompts: Path) -> Any:
    def run(*arguments: str, target: Path = small_pair.folder / "target") -> tuple[int, str, str]:
        own = [f"pair.target.path={target}", f"text.prompts=[{prompts}]", "folder=made"]
        code, out, err = run_command("distill", *SMALL, *FIT, *own, *arguments)
        return code, out, err

    return run


def made(tmp_path: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((tmp_path / "made" / "distillation.json").read_text())
    return result


def test_it_leaves_a_draft_model_that_decoders_use(
    distil: Any, run_cli: Any, tmp_path: Path, small_pair: SmallPair
) -> None:
    code, out, err = distil()
    assert code == 0, err
    assert "accepted of prompts, held out" in out and "pair.draft.path=made" in out
    result = made(tmp_path)
    assert f"6 of 6 steps, accepted {result['accepted']['prompts']:.1%} of prompts" in err
    # 24 prompts, a quarter of them held out.
    assert result["learned_texts"] == 18
    assert result["layers"] == [0] and result["head"] == 200 and result["steps"] == 6
    assert [step for step, _ in result["accepted_by_step"]] == [4, 6]
    assert result["accepted_by_step"][-1][1] == result["accepted"]["prompts"]
    # Six texts of 12 tokens at most, one by one.
    right, count = (sum(column) for column in zip(*result["held_out"]["prompts"], strict=True))
    assert len(result["held_out"]["prompts"]) == 6 and count <= 72
    assert right / count == result["accepted"]["prompts"]
    assert (result["seed"], result["text"]["new_tokens"], result["learned_tokens"] > 18) == (
        0, 12, True,
    )  # fmt: skip
    card = (tmp_path / "made" / "README.md").read_text()
    assert card.startswith(f"# A draft model for {small_pair.folder / 'target'}\n")
    assert f"| prompts | {result['accepted']['prompts']:.1%} |" in card
    assert len(json.loads((tmp_path / "made" / FREQUENT).read_text())) == 200
    # The target's embeddings and head, as bfloat16 has them.
    draft = AutoModelForCausalLM.from_pretrained(tmp_path / "made")
    target = small_pair.load_target().model
    for name in ("get_input_embeddings", "get_output_embeddings"):
        own, its = (getattr(one, name)().weight for one in (draft, target))
        assert torch.equal(own, its.to(torch.bfloat16))
    code, out, err = run_cli(
        "decoder=speculative", "decoder.gamma=3", f"pair.draft.path={tmp_path / 'made'}",
        "task=humaneval", "task.limit=3", "task.max_new_tokens=12", "hydra.run.dir=run",
    )  # fmt: skip
    assert code == 0 and "identical 3/3" in out, err


def planned(tmp_path: Path, **config: Any) -> list[corpora.TextBatch]:
    """Of a target that has a token for each sign, and as many for a prompt as that says."""
    pair: Any = SimpleNamespace(
        prompt=lambda problem: [0] * int(problem.prompt),
        encode=lambda text, where: [1] * len(text),
        tokenizer=lambda text, verbose: SimpleNamespace(input_ids=list(range(len(text)))),
        stop_ids=(),
    )
    own = {"longest": 48, "new_tokens": 12, "batch": 8, "chat": False} | config
    return corpora.Corpus(pair, TextConfig(**own), 0, tmp_path).batches


def counts(batches: list[corpora.TextBatch]) -> list[tuple[str, bool]]:
    return [(one.kind, one.held_out) for one in batches]


def file_of(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_a_quarter_of_prompts_is_aside_and_no_more_than_48(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt and what is written after it are 48 tokens at most; ours come in batches of 8."""
    monkeypatch.setattr(corpora, "user_opening", lambda tokenizer: [])
    monkeypatch.setattr(corpora, "write", lambda model, prompts, *rest: list(prompts))
    few = planned(tmp_path, prompts=[file_of(tmp_path / "few.txt", "5\n" * 7 + "36\n37\n")])
    assert counts(few) == [("prompts", True), ("prompts", False)]
    assert [len(one.make(None)) for one in few] == [2, 6]
    assert {len(p) for one in few for p in one.make(None)} == {5, 36}
    many = planned(tmp_path, prompts=[file_of(tmp_path / "many.txt", "5\n" * 200)])
    sizes = [(one.held_out, len(one.make(None))) for one in many]
    assert sizes == [(True, 8)] * 6 + [(False, 8)] * 19
    assert [one.name for one in many[4:8]] == [
        "prompts-held-out-00004", "prompts-held-out-00005", "prompts-00000", "prompts-00001",
    ]  # fmt: skip
    rising = [file_of(tmp_path / "r.txt", "".join(f"{n}\n" for n in range(1, 37)))]
    lengths = [len(p) for one in planned(tmp_path, prompts=rising)[2:] for p in one.make(None)]
    assert len(lengths) == 27 and lengths == sorted(lengths)


def test_of_what_it_makes_up_a_batch_is_aside_where_there_are_more_than_four(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpora, "user_opening", lambda tokenizer: [])
    openings = [file_of(tmp_path / "o.txt", "def\n")]
    assert counts(planned(tmp_path, openings=openings, own_prompts=32)) == [("openings", False)] * 4
    assert counts(planned(tmp_path, openings=openings, own_prompts=33)) == [
        ("openings", True), *[("openings", False)] * 4,
    ]  # fmt: skip


def test_of_a_dialogue_the_first_message_is_a_prompt(tmp_path: Path) -> None:
    asked: list[tuple[str, tuple[str, ...]]] = []

    def prompt(problem: Problem) -> list[int]:
        asked.append((problem.prompt, problem.turns))
        return [1]

    rows = [{"turns": ["a", "b"]}, {"prompt": "c"}]
    data = file_of(tmp_path / "d.jsonl", "".join(json.dumps(one) + "\n" for one in rows))
    pair: Any = SimpleNamespace(prompt=prompt)
    for chat in (True, False):
        corpora.Corpus(pair, TextConfig(prompts=[data], chat=chat), 0, tmp_path)
    assert asked == [("", ("a",)), ("", ("c",)), ("", ("a",)), ("c", ())]


def test_all_of_a_dialogue_is_held_back() -> None:
    problems = [Problem("T/1", turns=("a", "b")), Problem("T/2", "c")]
    assert list(corpora._whole(problems)) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("prompt", "said", "found"),
    [
        ("a b c", " d", True),
        # The last word of the prompt goes on.
        ("a b c", "d", True),
        ("a b", " c", True),
        ("a b", "c c", False),
        ("x", " a b c", True),
        ("a b", "", False),
    ],
)
def test_what_is_held_back_is_found_in_a_prompt_and_in_what_goes_on_from_it(
    prompt: str, said: str, found: bool
) -> None:
    corpus: Any = corpora.Corpus.__new__(corpora.Corpus)
    corpus._held_back = HeldBack(["a b c"], 3)
    tokenizer = SimpleNamespace(decode=lambda ids: "".join(map(chr, ids)))
    corpus._pair = SimpleNamespace(tokenizer=tokenizer)
    ids = torch.tensor([ord(one) for one in prompt + said])
    assert corpus._has_held_back(TargetText(ids, torch.zeros(0), len(prompt))) is found


class Written:
    """What a target is asked to write; each time it says 100, 101 and so on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[list[list[int]], int, Any]] = []
        #: By the prompts' places: how many tokens there are before a stop token.
        self.stops: dict[int, int] = {}
        monkeypatch.setattr(corpora, "write", self)

    def __call__(
        self, model: Any, prompts: Any, new: int, stops: Any, choose: Any = None
    ) -> list[TargetText]:
        assert stops == (99,)
        first = not self.asked
        self.asked.append(([list(one) for one in prompts], new, choose))
        made = []
        for place, one in enumerate(prompts):
            said = [*range(100, 100 + new)]
            if first and place in self.stops:
                said = [*said[: self.stops[place]], 99]
            made.append(TargetText(torch.tensor([*one, *said]), torch.zeros(0), len(one)))
        return made


def draw(asks: bool = False, seed: int = 0, batch: int = 6, **pair: Any) -> list[TargetText]:
    openings = [[1]] if asks else [[1], [2, 3]]
    config = TextConfig(batch=batch, new_tokens=12, temperature=0.5)
    own: Any = SimpleNamespace(stop_ids=(99,), **pair)
    return corpora._Drawn(openings, asks, (0, seed))(None, config, own)


def test_the_target_goes_on_from_openings_for_8_to_80_tokens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = Written(monkeypatch)
    written.stops = {3: 200, 4: 0}
    found = draw(batch=1000)
    (begun, most, choose), (prompts, new, chosen) = written.asked
    assert {tuple(one) for one in begun} == {(1,), (2, 3)} and len(begun) == 1000
    assert (most, choose._temperature, new, chosen) == (80, 0.5, 12, None)
    # One has ended by itself.
    assert len(found) == len(prompts) == 998
    assert [len(one) for one in prompts] == sorted(len(one) for one in prompts)
    lengths = set()
    for one in prompts:
        opening = 2 if one[0] == 2 else 1
        assert one[opening:] == [*range(100, 100 + len(one) - opening)]
        lengths.add(len(one) - opening)
    assert lengths == set(range(8, 81))


def test_each_batch_of_what_the_target_makes_up_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for seed in (0, 0, 1):
        written = Written(monkeypatch)
        draw(seed=seed)
        made.append([prompts for prompts, *_ in written.asked])
    assert made[0] == made[1] != made[2]


def test_messages_that_the_target_makes_up_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of which there is something to be said."""
    written = Written(monkeypatch)
    written.stops = {0: 0, 1: 3, 2: 2}

    def answer(ids: list[int]) -> str:
        assert ids == [99] or ids[0] == 100
        return "" if ids[0] == 99 else "x" * (len(ids) if ids[-1] == 99 else 9)

    def prompt(problem: Problem) -> list[int]:
        assert problem.prompt == "" and len(problem.turns) == 1
        return [7] * len(problem.turns[0])

    found = draw(asks=True, answer=answer, prompt=prompt)
    (begun, *_), (prompts, new, _) = written.asked
    assert begun == [[1]] * 6
    assert [len(one) for one in prompts] == [3, 4, 9, 9, 9] and new == 12
    assert [one.start for one in found] == [3, 4, 9, 9, 9]
    silent = Written(monkeypatch)
    assert draw(asks=True, answer=lambda ids: "", prompt=prompt) == []
    assert len(silent.asked) == 1


def test_as_much_is_made_as_is_asked_for(tmp_path: Path) -> None:
    """Batches of three tokens; what is held out counts nothing, nor what is held back."""

    def made(folder: Path, tokens: int | None, held_back: bool = False) -> list[str]:
        corpus: Any = corpora.Corpus.__new__(corpora.Corpus)
        corpus._folder, corpus._made, corpus._seed = folder, (), 0
        corpus._config = TextConfig(tokens=tokens)
        corpus._has_held_back = lambda text: held_back
        texts = {
            name: TargetText(torch.tensor([first, 5, 6]), torch.zeros(2, 1), 1)
            for name, first in (("a", 4), ("b", 4), ("c", 4), ("out", 7))
        }
        corpus.batches = [
            corpora.TextBatch(name, "prompts", "out" in name, lambda model, text=text: [text])
            for name, text in texts.items()
        ]
        corpus.make(None)
        return sorted(path.stem for path in folder.iterdir())

    for tokens, count in ((1, 1), (3, 1), (4, 2), (6, 2), (7, 3), (None, 3)):
        found = made(tmp_path / str(tokens), tokens)
        assert "out" in found and len(found) == count + 1
    # What is there counts when more is asked for.
    assert len(made(tmp_path / "4", 6)) == 3
    assert made(tmp_path / "4", 7) == ["a", "b", "c", "out"]
    assert len(made(tmp_path / "held back", 3, held_back=True)) == 4


def test_texts_of_a_folder_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.txt", "deep/a.txt", "a.txt"):
        (tmp_path / name).write_text(name)
    names = [path.relative_to(tmp_path).as_posix() for path in corpora._files(str(tmp_path))]
    assert names == ["a.txt", "b.txt", "deep/a.txt"]
    (tmp_path / "a.txt").write_bytes(b"\xff")
    with pytest.raises(UserError, match=r"^text\.texts: .*a\.txt: expected a text in UTF-8"):
        corpora._text(tmp_path / "a.txt")


def test_other_text_is_cut_into_pieces_until_there_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single token is no piece. The target reads eight at once."""
    read: list[int] = []

    def reading(model: Any, texts: Any) -> list[Any]:
        read.append(len(texts))
        return list(texts)

    monkeypatch.setattr(corpora, "user_opening", lambda tokenizer: [])
    monkeypatch.setattr(corpora, "read", reading)
    texts = [file_of(tmp_path / "a.txt", "x" * 97)]
    for wanted, pieces in ((48, 1), (49, 2), (1000, 2)):
        (batch,) = planned(tmp_path, texts=texts, other_tokens=wanted)
        assert [len(one) for one in batch.make(None)] == [48] * pieces
    texts = [file_of(tmp_path / "b.txt", "x" * 48 * 200)]
    batches = planned(tmp_path, texts=texts, other_tokens=10**6, batch=10)
    assert counts(batches) == [("texts", True)] * 5 + [("texts", False)] * 16
    read.clear()
    assert len(batches[0].make(None)) == 10 and read == [8, 2]


def test_as_many_held_out_texts_of_a_kind_are_measured_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """96 of each, whatever files they are in."""
    made = corpora.Corpus.__new__(corpora.Corpus)
    made._folder, made._made = tmp_path, ()
    made.batches = [
        corpora.TextBatch(f"{kind}-{n}", kind, held_out, lambda model: [])
        for kind, n, held_out in (
            ("prompts", 0, True), ("prompts", 1, True), ("prompts", 2, False), ("texts", 0, True),
        )
    ]  # fmt: skip
    for one in made.batches[:3]:
        (tmp_path / f"{one.name}.safetensors").touch()
    texts = [TargetText(torch.tensor([n, 9]), torch.zeros(0), 1) for n in range(3)]
    monkeypatch.setattr(corpora, "load_texts", lambda path: [texts[int(path.stem[-1])]] * 60)
    monkeypatch.setattr(made, "_has_held_back", lambda text: False)
    assert made.held_out() == {"prompts": [texts[0]] * 60 + [texts[1]] * 36}
    assert list(made.learned()) == [texts[2]] * 60


def test_what_begins_as_a_text_that_is_measured_on_is_not_learned_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one that was only read, all of it is what it begins with."""
    made = corpora.Corpus.__new__(corpora.Corpus)
    made._folder, made.batches = tmp_path, []
    made._made = [tmp_path / f"prompts-{n}.safetensors" for n in ("held-out-0", "0", "1")]
    of = {
        "prompts-held-out-0": [([1, 2, 3], 2), ([4, 5], 2)],
        "prompts-0": [([1, 2, 9], 2), ([1, 2, 3], 1), ([4, 5], 1)],
        "prompts-1": [([4, 5], 2), ([4, 5, 6], 3)],
    }
    texts = {
        name: [TargetText(torch.tensor(ids), torch.zeros(0), start) for ids, start in some]
        for name, some in of.items()
    }
    monkeypatch.setattr(corpora, "load_texts", lambda path: texts[path.stem])
    monkeypatch.setattr(made, "_has_held_back", lambda text: False)
    left = [*texts["prompts-0"][1:], texts["prompts-1"][1]]
    assert [id(one) for one in made.learned()] == [id(one) for one in left]


def test_what_is_told_of_a_draft_model() -> None:
    """Losses of the first twenty steps, 0 to 19, and of the last, 5 to 24."""
    draft = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 5))
    draft[1].requires_grad_(False)
    texts = [TargetText(torch.zeros(n), torch.zeros(n - 1, 2), 1) for n in (3, 4)]
    fitted = Fitted([float(n) for n in range(25)], [(10, 0.25), (25, 0.5)])
    accepted = {"prompts": [(1, 2), (2, 2)]}
    fitting = FitConfig(tokens=70, steps=30)
    assert _results(draft, [0, 2], torch.zeros(9), texts, accepted, fitted, fitting) == {
        "layers": [0, 2],
        "own_parameters": 3 * 2 + 2,
        "head": 9,
        "learned_texts": 2,
        "learned_tokens": 7,
        "steps": 25,
        "step_tokens": 70,
        "loss": "kl",
        "first_loss": 9.5,
        "last_loss": 14.5,
        "accepted": {"prompts": 0.75},
        "held_out": accepted,
        "accepted_by_step": [(10, 0.25), (25, 0.5)],
    }
    whole = _results(draft, [0], None, texts, {}, Fitted([], []), fitting)
    assert (whole["head"], whole["first_loss"], whole["last_loss"]) == (None, 0, 0)


def test_what_is_told_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    _tell({"accepted": {"prompts": 0.125, "other text": 0.5}}, Path("made"))
    assert capsys.readouterr().out.splitlines() == [
        "accepted of prompts, held out: 12.5%",
        "accepted of other text, held out: 50.0%",
        "written: made; use it with pair.draft.path=made",
    ]


@pytest.mark.parametrize(
    ("text", "fit", "said"),
    [
        ({"new_tokens": 0}, {}, "text.new_tokens must be at least 1, got 0"),
        ({"batch": 0}, {}, "text.batch must be at least 1, got 0"),
        ({"overlap": 0}, {}, "text.overlap must be at least 1, got 0"),
        ({"tokens": 0}, {}, "text.tokens must be at least 1, got 0"),
        ({"longest": 160}, {}, "text.longest=160 must be more than text.new_tokens=160: a prompt"),
        ({"temperature": 0.0}, {}, "text.temperature must be above 0, got 0"),
        ({"own_prompts": -1}, {}, "text.own_prompts and text.other_tokens must be at least 0"),
        ({"other_tokens": -1}, {}, "text.own_prompts and text.other_tokens must be at least 0"),
        ({}, {"steps": 0}, "fit.steps must be at least 1, got 0"),
        ({}, {"tokens": 0}, "fit.tokens must be at least 1, got 0"),
        ({}, {"every": 0}, "fit.every must be at least 1, got 0"),
        ({}, {"matrix_lr": -0.1}, "fit.matrix_lr and fit.other_lr must be at least 0"),
        ({}, {"other_lr": float("nan")}, "fit.matrix_lr and fit.other_lr must be at least 0"),
        ({}, {"warmup": -0.1}, "fit.warmup must be at least 0 and less than 1, got -0.1"),
        ({}, {"warmup": 1.0}, "fit.warmup must be at least 0 and less than 1, got 1.0"),
        ({}, {"first_choice": -0.1}, "fit.first_choice and fit.prompt_weight must be between 0"),
        ({}, {"first_choice": 1.1}, "fit.first_choice and fit.prompt_weight must be between 0"),
        ({}, {"prompt_weight": -0.1}, "fit.first_choice and fit.prompt_weight must be between 0"),
        ({}, {"prompt_weight": 1.1}, "fit.first_choice and fit.prompt_weight must be between 0"),
    ],
)
def test_numbers_have_limits(text: dict[str, Any], fit: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=f"^{said}"):
        _check(0, TextConfig(**text), DraftConfig(), FitConfig(**fit))
    least = TextConfig(new_tokens=1, batch=1, overlap=1, longest=2, temperature=0.01, tokens=1)
    for first, prompt in ((0.0, 1.0), (1.0, 0.0)):
        fitting = FitConfig(1, 1, warmup=first * 0.9, every=1)
        fitting = replace(fitting, first_choice=first, prompt_weight=prompt)
        _check(0, least, DraftConfig(head=1), fitting)


@pytest.mark.parametrize(
    ("part", "settings"), [("text", TextConfig()), ("draft", DraftConfig()), ("fit", FitConfig())]
)
def test_settings_are_by_themselves_what_the_configuration_says(part: str, settings: Any) -> None:
    whole: Any = OmegaConf.load(config_dir() / "distill.yaml")
    told = OmegaConf.to_container(whole[part])
    own = asdict(settings)
    assert {name: getattr(one, "value", one) for name, one in own.items()} == told


@pytest.mark.parametrize(
    ("part", "change", "file"),
    [
        ("target", {"dtype": "bfloat16"}, "texts.json"),
        ("text", {"new_tokens": 9}, "texts.json"),
        ("text", {"held_back": ["x"]}, "texts.json"),
        ("text", {"tokens": 9}, ""),
        ("text", {"made": ["x"]}, ""),
        ("shape", {"head": 9}, "fit.json"),
        ("shape", {"start": "x"}, "fit.json"),
        ("shape", {"whole": False}, ""),
        ("fitting", {"every": 9}, "fit.json"),
        ("fitting", {"loss": Loss.mixed}, "fit.json"),
        ("seed", 1, "texts.json"),
    ],
)
def test_what_was_begun_goes_on_by_the_same_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str, change: Any, file: str
) -> None:
    begun: dict[str, Any] = {
        "target": {"dtype": "float32", "target": "mark"}, "text": TextConfig(),
        "shape": DraftConfig(), "fitting": FitConfig(), "seed": 0,
    }  # fmt: skip
    files = _begun(tmp_path / "made", **begun)
    assert capsys.readouterr().err == "" and not (tmp_path / "made").exists()
    (tmp_path / "made" / "work").mkdir(parents=True)
    for path, content in files.items():
        _note(path, content)
    times = [path.stat().st_mtime_ns for path in files]
    for path, content in _begun(tmp_path / "made", **begun).items():
        _note(path, content)
    assert [path.stat().st_mtime_ns for path in files] == times
    said = f"pearl-eval: goes on in {tmp_path / 'made'} with what was made there"
    assert " ".join(capsys.readouterr().err.split()) == said
    own = begun[part]
    if isinstance(own, dict):
        begun[part] = own | change
    else:
        begun[part] = replace(own, **change) if part != "seed" else change
    if not file:
        _begun(tmp_path / "made", **begun)
        return
    with pytest.raises(UserError, match=rf"was begun with other settings, which are in .*{file}"):
        _begun(tmp_path / "made", **begun)


def test_where_all_text_is_held_back_there_is_nothing_to_learn() -> None:
    nothing: Any = SimpleNamespace(learned=lambda: iter(()))
    with pytest.raises(UserError, match="all that the target wrote has a prompt of"):
        _fitted(None, [], nothing, nothing, 0, DraftConfig(), FitConfig(), Path())


def test_the_card_of_a_draft_model(tmp_path: Path) -> None:
    results = {
        "layers": [0, 2], "own_parameters": 12345, "head": 2048, "learned_texts": 1234,
        "learned_tokens": 56789, "steps": 3000, "step_tokens": 4096, "loss": "mixed",
        "first_loss": 2.34567, "last_loss": 0.98765, "accepted": {"a": 0.1234, "b": 0.5},
        "accepted_by_step": [(1000, 0.25), (3000, 0.3119)],
    }  # fmt: skip
    write_card(tmp_path / "README.md", "some/model", results)
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("# A draft model for some/model\n")
    for line in (
        "| layers it began as | 0, 2 of the target's |",
        "| parameters of its own | 12,345 |",
        "| head | the 2,048 most frequent tokens, in our decoders |",
        "| learned from | 1,234 texts, 56,789 tokens |",
        "| training | 3,000 steps of 4,096 tokens, `mixed` |",
        "| loss | 2.346 at first, 0.988 at last |",
        "| a | 12.3% |\n| b | 50.0% |",
        "After steps: 1,000: 25.0%, 3,000: 31.2%.",
    ):
        assert f"\n{line}\n" in card
    write_card(tmp_path / "README.md", "some/model", results | {"head": None})
    assert "\n| head | all tokens |\n" in (tmp_path / "README.md").read_text()


def test_a_small_folder_is_completed_with_what_is_the_targets(
    distil: Any,
    run_cli: Any,
    tmp_path: Path,
    small_pair: SmallPair,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
    assert distil()[0] == 0
    whole = (tmp_path / "made" / "model.safetensors").read_bytes()
    # Nothing is trained anew for that.
    monkeypatch.setattr(fitting, "_step", pytest.fail)
    assert distil("draft.whole=false")[0] == 0
    small = tmp_path / "small"
    (tmp_path / "made").rename(small)
    shutil.rmtree(small / "work")
    with safe_open(small / "model.safetensors", framework="pt") as file:
        assert not any("embed" in name or "head" in name for name in file.keys())  # noqa: SIM118
        assert "model.layers.0.mlp.up_proj.weight" in file.keys()  # noqa: SIM118
    run = (
        "decoder=speculative", "decoder.gamma=3", f"pair.draft.path={small}", "task=humaneval",
        "task.limit=2", "task.max_new_tokens=8",
    )  # fmt: skip
    for name in ("one", "again"):
        code, out, err = run_cli(*run, f"hydra.run.dir={name}")
        assert code == 0 and "identical 2/2" in out, err
    (completed,) = (tmp_path / "assets" / "pearl_eval" / "weights").glob("draft-*")
    assert load_file(completed / "model.safetensors").keys() == load(whole).keys()
    assert all(
        torch.equal(one, load(whole)[name])
        for name, one in load_file(completed / "model.safetensors").items()
    )
    # Another target's embeddings do not fit it.
    other = tmp_path / "other"
    make_model(310, 2, 3).save_pretrained(other)
    make_tokenizer().save_pretrained(other)
    code, _, err = run_cli(*run, f"pair.target.path={other}")
    assert code == 2 and len(err.strip().splitlines()) == 1
    assert "of shape [300, 32]" in err and "the draft model of another target" in err


def test_what_goes_on_proposes_the_same_tokens(distil: Any, tmp_path: Path) -> None:
    assert distil()[0] == 0
    other = tmp_path / "other.txt"
    other.write_text("".join(f"class C{n}: pass\n" for n in range(24)))
    begun = f"draft.start={tmp_path / 'made'}"
    assert distil(f"text.prompts=[{other}]", "folder=more", begun)[0] == 0
    assert distil(f"text.prompts=[{other}]", "folder=anew")[0] == 0
    first, more, anew = (
        json.loads((tmp_path / name / FREQUENT).read_text()) for name in ("made", "more", "anew")
    )
    assert more == first != anew


def test_the_same_settings_make_the_same_model(distil: Any, tmp_path: Path) -> None:
    for name in ("one", "other"):
        assert distil(f"folder={name}")[0] == 0
    one, other = ((tmp_path / n / "model.safetensors").read_bytes() for n in ("one", "other"))
    assert one == other
    assert distil("folder=third", "seed=1")[0] == 0
    assert (tmp_path / "third" / "model.safetensors").read_bytes() != one


def test_it_goes_on_from_where_it_was_broken_off(
    distil: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert distil("folder=whole")[0] == 0
    real, calls = corpora.write, list[int]()

    def breaking(*arguments: Any) -> Any:
        calls.append(len(arguments[1]))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(corpora, "write", breaking)
    code, _, err = distil()
    assert code != 0
    assert "on disk, and the same command goes on from there" in err
    code, _, err = distil()
    assert code == 0 and "goes on in made" in err
    # Batches of 6, held out, and of 8, 8 and 2; the second was made again.
    assert sorted(calls) == sorted([6, 8, 8, 2, calls[1]])
    whole, own = ((tmp_path / n / "model.safetensors").read_bytes() for n in ("whole", "made"))
    assert whole == own


def test_a_part_of_the_text_is_the_same_if_it_was_broken_off(
    distil: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = ("text.batch=2", "text.tokens=150")
    assert distil("folder=whole", *part)[0] == 0
    real, calls = corpora.write, list[int]()

    def breaking(*arguments: Any) -> Any:
        calls.append(len(arguments[1]))
        # Three batches are held out.
        if len(calls) == 6:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(corpora, "write", breaking)
    assert distil(*part)[0] != 0
    assert distil(*part)[0] == 0
    whole, own = (
        sorted(path.name for path in (tmp_path / name / "work" / "texts").iterdir())
        for name in ("whole", "made")
    )
    assert whole == own and len(whole) < 12


def test_other_settings_do_not_go_on_with_what_was_begun(distil: Any, tmp_path: Path) -> None:
    assert distil()[0] == 0
    for setting, file, remedy in (
        ("text.new_tokens=11", "texts.json", "delete made/work\n"),
        ("fit.steps=7", "fit.json", "delete made/work/fit.json and made/work/draft.pt"),
    ):
        code, _, err = distil(setting)
        assert code == 2 and len(err.strip().splitlines()) == 1
        assert "made was begun with other settings" in err and file in err and remedy in err
    # But how much is enough may be said anew.
    assert distil("text.tokens=100000")[0] == 0


def test_so_many_tokens_are_enough(distil: Any, tmp_path: Path) -> None:
    assert distil("text.tokens=200")[0] == 0
    paths = sorted((tmp_path / "made" / "work" / "texts").glob("*.safetensors"))
    counts = {path.name: sum(len(t.ids) for t in load_texts(path)) for path in paths}
    # What is held out comes first, and counts nothing; a batch more is begun below 200 only.
    assert counts.pop("prompts-held-out-00000.safetensors")
    assert sum(counts.values()) >= 200 > sum(counts.values()) - max(counts.values())
    assert len(counts) < 3
    # There is more now than it was trained on.
    before = made(tmp_path)["learned_tokens"]
    code, _, err = distil("text.tokens=null")
    assert code == 2 and f"made/work/draft.pt was trained on {before} tokens, and there are" in err
    assert made(tmp_path)["learned_tokens"] == before
    (tmp_path / "made" / "work" / "draft.pt").unlink()
    assert distil("text.tokens=null")[0] == 0
    assert made(tmp_path)["learned_tokens"] > before
    assert len(list((tmp_path / "made" / "work" / "texts").glob("*.safetensors"))) == 4
    noted = json.loads((tmp_path / "made" / LEARNED).read_text())
    assert noted == {"texts": 18, "tokens": made(tmp_path)["learned_tokens"]}


def test_an_opening_that_is_too_long_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """48 tokens at most, of which 12 are new."""
    monkeypatch.setattr(corpora, "user_opening", lambda tokenizer: [])
    for signs, fits in ((36, True), (37, False)):
        openings = [file_of(tmp_path / "o.txt", "x" * signs + "\n")]
        if fits:
            assert planned(tmp_path, openings=openings, own_prompts=8)
        else:
            with pytest.raises(UserError, match=r"text\.own_prompts=8"):
                planned(tmp_path, openings=openings, own_prompts=8)


def test_the_target_makes_prompts_up(distil: Any, tmp_path: Path, chat_pair: SmallPair) -> None:
    openings = tmp_path / "openings.txt"
    openings.write_text("def\nclass\n")
    code, _, err = distil(
        "text.prompts=[]", f"text.openings=[{openings}]", "text.own_prompts=48",
        target=chat_pair.folder / "target",
    )  # fmt: skip
    assert code == 0, err
    texts = tmp_path / "made" / "work" / "texts"
    # Six batches by turns, the first of each kind held out.
    assert sorted(path.stem for path in texts.iterdir()) == [
        "messages-00003", "messages-00005", "messages-held-out-00001",
        "openings-00002", "openings-00004", "openings-held-out-00000",
    ]  # fmt: skip
    assert list(made(tmp_path)["accepted"]) == [
        "openings that it went on from",
        "messages that it made up",
    ]
    found = made(tmp_path)
    assert found["accepted_by_step"][-1][1] == pytest.approx(sum(found["accepted"].values()) / 2)
    # A message and what is said to it are as the chat template has them.
    tokenizer = AutoTokenizer.from_pretrained(chat_pair.folder / "target")
    for text in load_texts(texts / "messages-00003.safetensors"):
        asked = tokenizer.decode(text.ids[: text.start])
        assert asked.startswith("<user>") and asked.endswith("</><assistant>")
    for text in load_texts(texts / "openings-00002.safetensors"):
        begun = tokenizer.decode(text.ids[: text.start])
        assert begun.startswith(("def", "class")) and text.start > 8


def test_any_text_is_read(distil: Any, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("some words in a row " * 40)
    (folder / "deep" / "b.py").write_text("def f(x):\n    return x\n" * 40)
    code, _, err = distil("text.prompts=[]", f"text.texts=[{folder}]", "text.other_tokens=300")
    assert code == 0, err
    texts = [
        text
        for path in (tmp_path / "made" / "work" / "texts").glob("*")
        for text in load_texts(path)
    ]
    assert all(text.start == len(text.ids) <= 48 for text in texts)
    assert 300 <= sum(len(text.ids) for text in texts) < 348
    assert list(made(tmp_path)["accepted"]) == ["other text"]


def test_what_is_held_back_is_not_learned(distil: Any, tmp_path: Path) -> None:
    held = tmp_path / "held.txt"
    held.write_text("f7 x return x 7\nf23 x return x 23\n")
    assert distil(f"text.held_back=[{held}]", "text.overlap=5")[0] == 0
    count = sum(
        len(list(load_texts(path))) for path in (tmp_path / "made" / "work" / "texts").glob("*")
    )
    assert count == 22
    # Nor of what is there, if more is to be held back.
    with held.open("a") as file:
        file.write("f3 x return x 3\n")
    (tmp_path / "made" / "work" / "draft.pt").unlink()
    assert distil(f"text.held_back=[{held}]", "text.overlap=5")[0] == 0
    result = made(tmp_path)
    assert result["learned_texts"] + len(result["held_out"]["prompts"]) == 21


def test_two_do_not_work_in_one_folder(distil: Any, tmp_path: Path) -> None:
    work = tmp_path / "made" / "work"
    work.mkdir(parents=True)
    with held(work):
        code, _, err = distil()
    assert code == 2 and "another process is at work on the run there" in err
    assert work.is_dir()


def test_what_was_refused_was_not_begun(distil: Any, tmp_path: Path) -> None:
    assert distil("draft.depth=9")[0] == 2
    assert not (tmp_path / "made").exists()


def test_a_file_of_texts_that_is_cut_short_is_named(distil: Any, tmp_path: Path) -> None:
    assert distil("folder=one")[0] == 0
    path = tmp_path / "one" / "work" / "texts" / "prompts-00000.safetensors"
    path.write_bytes(path.read_bytes()[:40])
    code, _, err = distil("text.prompts=[]", "text.made=[one]")
    assert code == 2 and len(err.strip().splitlines()) == 1
    assert f"{path.name} is damaged or cut short" in err


def test_where_nothing_is_held_out_nothing_is_measured(distil: Any, tmp_path: Path) -> None:
    few = tmp_path / "few.txt"
    few.write_text("a b\nc d\ne f\n")
    code, out, err = distil(f"text.prompts=[{few}]")
    assert code == 0 and "accepted" not in out, err
    result = made(tmp_path)
    assert (result["learned_texts"], result["accepted"], result["accepted_by_step"]) == (3, {}, [])
    card = (tmp_path / "made" / "README.md").read_text()
    assert "After steps: not measured, as too little text was made." in card


def test_texts_that_were_made_elsewhere_are_learned_too(
    distil: Any, tmp_path: Path, small_pair: SmallPair
) -> None:
    """Two folders of 24 prompts each, a quarter held out: 2 × 18 learned, 2 × 6 judged."""
    other = tmp_path / "other.txt"
    other.write_text("".join(f"class C{n}: pass  # {n}\n" for n in range(24)))
    assert distil("folder=one")[0] == 0
    assert distil("folder=two", "seed=1", f"text.prompts=[{other}]")[0] == 0
    both = ["text.prompts=[]", "text.made=[one,two]"]
    code, _, err = distil(*both)
    assert code == 0, err
    result = made(tmp_path)
    assert result["learned_texts"] == 36
    assert len(result["held_out"]["prompts"]) == 12
    parts = [
        json.loads((tmp_path / one / "distillation.json").read_text()) for one in ("one", "two")
    ]
    assert result["learned_tokens"] == sum(part["learned_tokens"] for part in parts)
    assert not list((tmp_path / "made" / "work").glob("texts/*"))
    # The same weights may lie elsewhere, as they do on another machine.
    elsewhere = shutil.copytree(small_pair.folder / "target", tmp_path / "elsewhere")
    code, _, err = distil("folder=moved", *both, target=elsewhere)
    assert code == 0, err
    moved = json.loads((tmp_path / "moved" / "distillation.json").read_text())
    assert moved["learned_tokens"] == result["learned_tokens"]
    # Beside its own, and what is held back of it, which those who made it did not know.
    held = tmp_path / "held.txt"
    held.write_text("class C7 pass 7\nclass C23 pass 23\n")
    held_back = [f"text.held_back=[{held}]", "text.overlap=4"]
    code, _, err = distil("folder=third", "text.made=[two]", *held_back)
    assert code == 0, err
    third = json.loads((tmp_path / "third" / "distillation.json").read_text())
    assert third["learned_texts"] + len(third["held_out"]["prompts"]) == 48 - 2
    # More may be added to what was begun.
    shutil.rmtree(tmp_path / "third" / "work" / "texts")
    for name in ("fit.json", "draft.pt"):
        (tmp_path / "third" / "work" / name).unlink()
    assert distil("folder=third", "text.made=[one,two]", *held_back)[0] == 0


def test_texts_of_another_target_are_refused(
    distil: Any, tmp_path: Path, small_pair: SmallPair
) -> None:
    assert distil("folder=one")[0] == 0
    code, _, err = distil("text.made=[one]", "pair.dtype=bfloat16")
    assert code == 2 and "the texts of one are of another target or dtype" in err
    # The shape and the name are the same, some weights are not.
    other = shutil.copytree(small_pair.folder / "target", tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    save_file(
        {k: v * 1.5 for k, v in weights.items()}, other / "model.safetensors", {"format": "pt"}
    )
    code, _, err = distil("text.made=[one]", target=other)
    assert code == 2 and "the texts of one are of another target or dtype" in err
    assert not (tmp_path / "made").exists()
    (tmp_path / "one" / "work" / "texts.json").write_text("{")
    code, _, err = distil("text.made=[one]")
    assert code == 2 and "one has no texts of pearl-eval distill" in err


def test_texts_of_a_target_that_is_made_otherwise_are_refused(tmp_path: Path) -> None:
    """A controlled pair's targets all have the mark of the model that they are made of."""

    def settings(depth: int) -> dict[str, Any]:
        return {"target": "mark"} | Controlled(depth=depth).target_settings()

    path = tmp_path / TEXTS / "prompts-00000.safetensors"
    path.parent.mkdir(parents=True)
    path.touch()
    (tmp_path / SETTINGS).write_text(as_saved({"target": settings(2)}))
    assert made_texts([str(tmp_path)], settings(2)) == [path]
    with pytest.raises(UserError, match="are of another target or dtype"):
        made_texts([str(tmp_path)], settings(3))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["text.prompts=[]"], "there is nothing to learn from"),
        (["text.made=[nowhere]"], "text.made: nowhere has no texts of pearl-eval distill"),
        (["text.prompts=[]", "text.own_prompts=8"], "give text.openings=[FILE]"),
        (["text.prompts=[]", "text.texts=[nowhere]", "text.other_tokens=9"], "no such file"),
        (["text.other_tokens=9"], "give text.texts=[FILE]"),
        (["text.prompts=[nowhere.txt]"], "nowhere.txt"),
        (["text.longest=12"], "text.longest=12 must be more than text.new_tokens=12"),
        (["text.batch=0"], "text.batch must be at least 1, got 0"),
        (["draft.head=0"], "draft.head must be at least 1, got 0"),
        (["fit.matrix_lr=-1"], "fit.matrix_lr and fit.other_lr must be at least 0"),
        (["fit.every=0"], "fit.every must be at least 1, got 0"),
        (["text.temperature=0"], "text.temperature must be above 0"),
        (["fit.first_choice=1.5"], "must be between 0 and 1"),
        (["fit.prompt_weight=-0.5"], "must be between 0 and 1"),
        (["fit.loss=l2"], "fit.loss"),
        (["draft.depth=9"], "draft.depth must be 1 to 2, the target's layers, got 9"),
        (["draft.layers=[0,3]"], "numbers of layers from 0 to 1, got [0, 3]"),
        (["text.own_prompts=-1"], "at least 0"),
        (["text.other_tokens=-1"], "at least 0"),
        (["seed=-1"], "seed"),
    ],
)
def test_what_can_not_be_is_told_in_one_line(distil: Any, arguments: list[str], said: str) -> None:
    code, _, err = distil(*arguments)
    assert code == 2 and said in err
    assert len(err.strip().splitlines()) == 1


def test_it_wants_a_folder(run_command: Any, small_pair: SmallPair) -> None:
    code, _, err = run_command("distill", f"pair.target.path={small_pair.folder / 'target'}")
    assert code == 2
    assert (
        err == "pearl-eval: error: folder=DIR is missing: where the draft model is to come to be\n"
    )


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["distill", "folder=made"], ": there is nothing to learn"),
        (["audit", "outputs.jsonl"], ", so no output is its own"),
    ],
)
def test_a_pair_that_makes_its_tokens_up_is_refused(
    run_command: Any, command: list[str], said: str
) -> None:
    code, _, err = run_command(*command, "pair=synthetic")
    assert code == 2
    assert err == f"pearl-eval: error: a synthetic pair makes its tokens up{said}\n"
