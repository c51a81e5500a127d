"""A tree of tensors and plain values as one file: safetensors with the tree's shape as JSON in its header. Whole or not
there, and no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from umekomi.errors import DataError, WrongUse
from umekomi.files import whole_file

Tree = Any
"""Tensors, numbers, strings, booleans and None, in tuples, lists and dictionaries of any depth."""


def write_tree(file: str | Path, tree: Tree) -> None:
    """Write a tree; its tensors come from wherever they are. A value of any other type is an error that names it."""
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    shape = _taken_apart(tree, "", tensors, set())
    with whole_file(file) as temporary:
        save_file(tensors, temporary, metadata={"tree": json.dumps(shape)})


def read_tree(file: str | Path) -> Tree:
    """What :func:`write_tree` wrote, its tensors on the CPU."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = Path(file).read_bytes()  # not by safe_open: torch turns a Ctrl-C within it into a TypeError
    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return _put_together(json.loads(header["__metadata__"]["tree"]), tensors)
    except (SafetensorError, KeyError, ValueError) as error:
        raise DataError(
            f"{file}: expected a checkpoint, found a damaged file or another ({str(error).splitlines()[0]}); remove it "
            "to start anew"
        ) from None


def _taken_apart(tree: Tree, path: str, tensors: dict[str, Tensor], seen: set[int]) -> object:
    """The tree as JSON, its tensors put into ``tensors`` under names that say where they stood."""
    if isinstance(tree, Tensor):
        found = tree.detach().cpu().contiguous()
        storage = found.untyped_storage()
        if storage.nbytes() != found.nbytes or storage.data_ptr() in seen:
            found = found.clone()  # tied weights and views share memory, which the format refuses
        seen.add(found.untyped_storage().data_ptr())
        name = f"{len(tensors)}{path}"
        tensors[name] = found
        return {"tensor": name}
    if isinstance(tree, Mapping):
        return {"pairs": [[key, _taken_apart(value, f"{path}.{key}", tensors, seen)] for key, value in tree.items()]}
    if type(tree) in (tuple, list):
        return {
            type(tree).__name__: [_taken_apart(value, f"{path}.{i}", tensors, seen) for i, value in enumerate(tree)]
        }
    if tree is None or isinstance(tree, (bool, int, float, str)):
        return {"value": tree}
    raise WrongUse(
        f"checkpoint, {path.lstrip('.') or 'the tree'}: expected tensors and plain values in tuples, lists and "
        f"dictionaries, found {type(tree).__name__}"
    )


def _put_together(shape: Any, tensors: dict[str, Tensor]) -> Tree:
    ((kind, inner),) = shape.items()
    if kind == "tensor":
        return tensors[inner]
    if kind == "pairs":
        return {key: _put_together(value, tensors) for key, value in inner}
    if kind in ("tuple", "list"):
        return (tuple if kind == "tuple" else list)(_put_together(value, tensors) for value in inner)
    return inner


def detach_tree(tree: Tree) -> Tree:
    """The same tree, cut off from the graph that made it; tuples, lists, dictionaries and tensors only."""
    if isinstance(tree, Tensor):
        return tree.detach()
    if type(tree) in (tuple, list):
        return type(tree)(detach_tree(value) for value in tree)
    if isinstance(tree, Mapping):
        return {key: detach_tree(value) for key, value in tree.items()}
    if tree is None or isinstance(tree, (bool, int, float, str)):
        return tree
    raise WrongUse(f"carried state: expected tensors in tuples, lists and dictionaries, found {type(tree).__name__}")


def move_tree(tree: Tree, device: torch.device) -> Tree:
    """The same tree with its tensors on a device; anything else in it stays as it is."""
    if isinstance(tree, Tensor):
        return tree.to(device, non_blocking=True)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(move_tree(value, device) for value in tree))
    if type(tree) in (tuple, list):
        return type(tree)(move_tree(value, device) for value in tree)
    if isinstance(tree, Mapping):
        return {key: move_tree(value, device) for key, value in tree.items()}
    return tree
