"""A forward over a tree gives what separate forwards over its branches give."""

from __future__ import annotations

import pytest
import torch
from small_pair import make_model

from decoders.model import cached_model as model_module
from decoders.model.cached_model import CachedModel
from decoders.model.tree import ROOT, Branches, Tree

#: In float64; eager attention still takes its softmax in float32.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
TEXT = torch.randint(0, 64, (12,), generator=torch.Generator().manual_seed(0)).tolist()


def make_cached(attention: str = "sdpa", dtype: torch.dtype = torch.float64) -> CachedModel:
    model = make_model(64, layers=2, seed=0).to(dtype)
    model.set_attn_implementation(attention)
    return CachedModel(model)


def linear(cached: CachedModel, tokens: list[int], rows: int) -> torch.Tensor:
    """Logits of a forward over the whole of a text, from nothing."""
    return CachedModel(cached.model).extend(tokens, rows)


def make_tree() -> tuple[Tree, dict[int, list[int]]]:
    """Two branches, of which the second forks; and the text that each node ends."""
    tree = Tree()
    a = tree.add(5)
    b = tree.add(9)
    c = tree.add(7, a)
    d = tree.add(3, b)
    e = tree.add(4, b)
    f = tree.add(6, e)
    paths = {ROOT: [], a: [5], b: [9], c: [5, 7], d: [9, 3], e: [9, 4], f: [9, 4, 6]}
    return tree, paths


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("seen", [0, 5, 11])
def test_tree_logits_are_those_of_separate_texts(attention: str, seen: int) -> None:
    cached = make_cached(attention)
    if seen:
        cached.extend(TEXT[:seen], rows=1)
    tree, paths = make_tree()
    logits = cached.extend_tree(TEXT, tree, list(paths))
    for row, path in zip(logits, paths.values(), strict=True):
        torch.testing.assert_close(row, linear(cached, TEXT + path, 1)[0], **CLOSE)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("path", [[], [0], [1], [0, 2], [1, 4], [1, 4, 5]], ids=str)
def test_what_is_kept_is_the_text_that_was_read(attention: str, path: list[int]) -> None:
    cached = make_cached(attention)
    tree, _ = make_tree()
    cached.extend_tree(TEXT, tree, [ROOT])
    cached.keep(len(TEXT), path)
    assert cached.length == len(TEXT) + len(path)
    text = [*TEXT, *(tree.tokens[node] for node in path), 1, 2]
    torch.testing.assert_close(cached.extend(text, 2), linear(cached, text, 2), **CLOSE)
    cached.rollback(len(TEXT) + 1)
    other = [*text[: len(TEXT) + 1], 8, 8]
    torch.testing.assert_close(cached.extend(other, 2), linear(cached, other, 2), **CLOSE)


def test_kept_and_read_on_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_module, "INITIAL_CAPACITY", 4)
    cached = make_cached(dtype=torch.float32)
    text = list(TEXT)
    for step in range(12):
        tree, paths = make_tree()
        node = step % (len(tree) + 1) - 1
        logits = cached.extend_tree(text, tree, [node])
        path = [one for one in range(len(tree)) if node != ROOT and tree.visible()[node, one]]
        torch.testing.assert_close(
            logits, linear(cached, text + paths[node], 1), rtol=1e-4, atol=1e-4
        )
        cached.keep(len(text), path)
        text += [*paths[node], step]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("chained", [0, 2], ids=["from the text", "from a draft"])
def test_a_tree_grows_beside_what_was_read_of_it(attention: str, chained: int) -> None:
    """Its first nodes may have been read as a text; others start from those, too."""
    cached = make_cached(attention)
    tree = Tree()
    paths: dict[int, list[int]] = {ROOT: []}

    def add(token: int, parent: int) -> int:
        node = tree.add(token, parent)
        paths[node] = [*paths[parent], token]
        return node

    chain = [ROOT]
    for token in (5, 9)[:chained]:
        chain.append(add(token, chain[-1]))
    cached.extend(TEXT + paths[chain[-1]], rows=1)
    tips = [add(7, chain[0]), add(3, chain[-1]), add(4, chain[-1]), add(8, chain[len(chain) // 2])]
    for step in range(3):
        logits = cached.grow_tree(len(TEXT), tree, tips)
        for row, node in zip(logits, tips, strict=True):
            torch.testing.assert_close(row, linear(cached, TEXT + paths[node], 1)[0], **CLOSE)
        # The last of them ends.
        tips = [add(10 + step + index, node) for index, node in enumerate(tips[:-1])]
    cached.rollback(len(TEXT))
    text = [*TEXT, 1, 2]
    torch.testing.assert_close(cached.extend(text, 2), linear(cached, text, 2), **CLOSE)


def test_logits_of_some_new_nodes_of_a_tree() -> None:
    cached = make_cached()
    cached.extend(TEXT, rows=1)
    tree, paths = make_tree()
    (row,) = cached.grow_tree(len(TEXT), tree, [4])
    torch.testing.assert_close(row, linear(cached, TEXT + paths[4], 1)[0], **CLOSE)


def test_what_is_no_tree_that_has_grown() -> None:
    cached = make_cached()
    cached.extend(TEXT, rows=1)
    tree, _ = make_tree()
    with pytest.raises(ValueError, match="of 6 nodes, of which -1 were read, has grown"):
        cached.grow_tree(len(TEXT) + 1, tree, [0])
    with pytest.raises(ValueError, match="of 0 nodes, of which 0 were read"):
        cached.grow_tree(len(TEXT), Tree(), [])
    cached.grow_tree(len(TEXT), tree, [0])
    with pytest.raises(ValueError, match="of 6 nodes, of which 6 were read"):
        cached.grow_tree(len(TEXT), tree, [0])
    cached.rollback(len(TEXT))
    cached.model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match="flash_attention_2' reads no trees"):
        cached.grow_tree(len(TEXT), tree, [0])


def test_an_empty_tree_is_a_plain_forward() -> None:
    cached = make_cached()
    logits = cached.extend_tree(TEXT, Tree(), [ROOT])
    assert torch.equal(logits, make_cached().extend(TEXT, rows=1))


def test_trees_in_higher_precision() -> None:
    cached = make_cached(dtype=torch.float32)
    tree, paths = make_tree()
    wide = cached.in_higher_precision()
    logits = wide.extend_tree(TEXT, tree, list(paths))
    assert logits.dtype is torch.float64
    for row, path in zip(logits, paths.values(), strict=True):
        expected = cached.in_higher_precision().extend(TEXT + path, rows=1)[0]
        torch.testing.assert_close(row, expected, rtol=1e-9, atol=1e-9)


def test_a_tree_needs_a_token_to_start_from() -> None:
    cached = make_cached()
    cached.extend(TEXT, rows=1)
    with pytest.raises(ValueError, match="at least one unseen token"):
        cached.extend_tree(TEXT, make_tree()[0], [ROOT])


def test_attention_that_takes_no_mask_is_refused() -> None:
    cached = make_cached()
    cached.model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match="flash_attention_2' reads no trees"):
        cached.extend_tree(TEXT, make_tree()[0], [ROOT])


def test_branches_that_begin_alike_share_nodes() -> None:
    tree = Tree()
    branches = Branches(tree)
    for tokens in ([1, 2, 3], [1, 2, 4], [5], [], [1, 2]):
        branches.add(tokens)
    assert tree.tokens == [1, 2, 3, 4, 5]
    assert tree.depths == [1, 2, 3, 3, 1]
    assert branches.after(ROOT) == {1: 0, 5: 4}
    assert branches.after(1) == {3: 2, 4: 3}
    assert branches.after(3) == {}


def test_what_nodes_see() -> None:
    tree, _ = make_tree()
    assert tree.visible(4).tolist() == [
        [False, True, False, False, True, False],
        [False, True, False, False, True, True],
    ]
    assert (tree.path(ROOT), tree.path(5)) == ([], [9, 4, 6])
    assert tree.visible(6).shape == (0, 6) and Tree().visible().shape == (0, 0)


def test_depth_first_a_branch_is_whole_before_the_next_begins() -> None:
    tree = Tree()
    branches = Branches(tree)
    for tokens in ([1, 2], [3, 4], [1, 5, 6]):
        branches.add(tokens)
    order = list(branches.depth_first())
    assert [tree.tokens[node] for node in order] == [1, 2, 5, 6, 3, 4]
    assert [tree.depths[node] for node in order] == [1, 2, 2, 3, 1, 2]
