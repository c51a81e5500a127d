"""Networks of transformers and their tokenizers: the switches that survive a save (which way a decoder looks, an
end-of-text token, all layers given out), and whether weights and vocabulary are whole. Loads neither torch nor
transformers before they are needed."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.errors import DataError, WrongUse

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

SWITCHED = ("qwen3", "mistral", "llama")
"""Decoders that read ``is_causal`` of their configuration (transformers 5.23; a test looks at what their tokens
see)."""


def decodes(model: PreTrainedModel | PretrainedConfig) -> bool:
    """Is this a decoder whose direction can be chosen?"""
    return getattr(getattr(model, "config", model), "model_type", None) in SWITCHED


def bidirectional(model: PreTrainedModel | PretrainedConfig, on: bool = True) -> None:
    """Let every token of a decoder see the whole text (``on``), or only what stands before it. Written into the
    configuration, so that it holds after a save; a network that has no such switch in transformers is an error, not a
    silence."""
    config = getattr(model, "config", model)
    if not decodes(config):
        raise WrongUse(
            f"attention: transformers can turn the causal mask of {', '.join(SWITCHED)} off; found "
            f"{getattr(config, 'model_type', None)!r}"
        )
    config.is_causal = not on
    for module in getattr(model, "modules", tuple)():
        if hasattr(module, "is_causal"):
            module.is_causal = not on


def sees(model: PreTrainedModel, tokens: Sequence[int]) -> NDArray[np.bool_]:
    """Which tokens each token's vector depends on: bool ``[tokens, tokens]``, row i for vector i. Found by changing one
    token after the other, not by reading a setting."""
    import torch

    ids = torch.tensor([list(tokens)])
    other = (ids + 1) % model.config.vocab_size
    base = getattr(model, "base_model", model)
    with torch.no_grad():
        before = base(input_ids=ids).last_hidden_state[0]
        out = torch.zeros(len(tokens), len(tokens), dtype=torch.bool)
        for place in range(len(tokens)):
            changed = ids.clone()
            changed[0, place] = other[0, place]
            out[:, place] = (base(input_ids=changed).last_hidden_state[0] - before).abs().amax(1) > 1e-6
    return out.numpy()


def with_eos(words: PreTrainedTokenizerBase, token: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer, adding its end-of-text token (or ``token``) to every text, whatever truncation takes away. Files
    of published decoders often lack it, and last-token vectors are wrong then."""
    from tokenizers import processors

    token = token or words.eos_token
    number = words.convert_tokens_to_ids(token) if token else None
    if number is None or number == words.unk_token_id:
        raise WrongUse(
            f"the tokenizer has no end-of-text token ({token or 'eos_token'}), which last-token pooling needs"
        )
    fast = getattr(words, "_tokenizer", None)
    if fast is None:
        raise WrongUse(
            f"{type(words).__name__} is no fast tokenizer: an end-of-text token cannot be added to its template"
        )
    if words("a")["input_ids"][-1] != number:
        before = [(name, place) for place, name in _leading(words)]
        single = " ".join([*(name for name, _ in before), "$A", token])
        fast.post_processor = processors.TemplateProcessing(single=single, special_tokens=[*before, (token, number)])
    return words


PLAIN = (
    "The cat sat on the mat, twice.",
    "  spaces  within ",
    "埋め込みは文を数のならびにする。",
    "Ｆｕｌｌ　ｗｉｄｔｈ①",
)
"""Texts that a tokenizer must cut as its file says."""


def as_filed(words: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer, or the one that the ``tokenizer.json`` it was read from holds where that cuts plain texts
    otherwise: some classes of transformers keep its vocabulary alone and put a pipeline of their own around it (5.23:
    LlamaTokenizer makes Sarashina's unigrams a BPE without merges)."""
    import transformers
    from tokenizers import Tokenizer

    file, fast = Path(words.name_or_path) / "tokenizer.json", getattr(words, "_tokenizer", None)
    if fast is None or not file.is_file():
        return words
    own = Tokenizer.from_file(str(file))
    if all(_ids(own, text) == _ids(fast, text) for text in PLAIN):
        return words
    own.post_processor = fast.post_processor
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=own,
        model_max_length=words.model_max_length,
        padding_side=words.padding_side,
        truncation_side=words.truncation_side,
        clean_up_tokenization_spaces=False,
        **words.special_tokens_map,
    )


def _ids(fast: Any, text: str) -> list[int]:
    return list(fast.encode(text, add_special_tokens=False).ids)


def _leading(words: PreTrainedTokenizerBase) -> list[tuple[int, str]]:
    """The special tokens that the tokenizer puts before a text."""
    bare, whole = words("a", add_special_tokens=False)["input_ids"], words("a")["input_ids"]
    return (
        [(number, words.convert_ids_to_tokens(number)) for number in whole[: whole.index(bare[0])]]
        if bare and bare[0] in whole
        else []
    )


def needs(words: PreTrainedTokenizerBase, which: str, who: str) -> int:
    """The number of a special token (``"mask"``, ``"eos"`` …), or the error of a recipe that cannot do without it."""
    number = getattr(words, f"{which}_token_id", None)
    if number is None:
        raise WrongUse(f"{who}: expected a tokenizer with a {which} token, {type(words).__name__} has none")
    return int(number)


def with_all_layers(model: SentenceTransformer) -> None:
    """Let a sentence-transformers model's network give all hidden states (:class:`umekomi.parts.pooling.LayerMix` needs
    them)."""
    model.transformers_model.config.output_hidden_states = True


_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


def check_weights(model: PreTrainedModel, report: dict[str, Any], folder: Path) -> None:
    """The error where ``report`` (transformers' ``output_loading_info``) says that weights of ``folder`` (a file, or a
    hub's name) were missing, which transformers then draws at random; or that layers of a kind that the network has
    were left over. A pooler that was missing is taken out or zero, since nothing here reads it: drawn at random, it
    would be another one at each opening."""
    where = folder / "config.json" if folder.is_dir() else folder
    poolers = sorted(name for name in report["missing_keys"] if name.startswith("pooler."))
    missing = sorted(set(report["missing_keys"]) - set(poolers))
    if poolers and "add_pooling_layer" in inspect.signature(type(model).__init__).parameters:
        model.pooler = None
    elif poolers:
        for name in poolers:
            model.get_parameter(name).data.zero_()
    if missing:
        raise DataError(
            f"{where}: expected a network whose weights lie beside it, {len(missing)} of its "
            f"{type(model).__name__} are not there, {missing[0]} first"
        )
    kinds = {_NUMBER.sub("#", name) for name, _ in model.named_parameters()}
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    left = sorted(
        name for name in report["unexpected_keys"] if _NUMBER.sub("#", str(name).removeprefix(prefix)) in kinds
    )
    if left:
        raise DataError(
            f"{where}: expected a network of all layers whose weights lie beside it, {len(left)} "
            f"weights are left over, {left[0]} first"
        )


SMALL = 12_500_000
"""Numbers that a network may have whatever its weights say: 50 MB."""


def check_size(make: Callable[[], Any], folder: Path) -> None:
    """The error where the network that ``make`` gives is several times larger than the weights in ``folder``: what is
    not in them would be made, in memory that is not there. It is made without its numbers, to count them."""
    import torch
    from safetensors import safe_open

    there = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as weights:
            there += sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    if not there:
        return
    try:
        with torch.device("meta"):
            wanted = sum(parameter.numel() for parameter in make().parameters())
    except Exception:  # reading the weights says what is wrong
        return
    if wanted > 4 * there + SMALL:
        raise DataError(
            f"{folder / 'config.json'}: expected the network whose {there:,} weights lie beside it, found one of "
            f"{wanted:,}"
        )


def check_words(words: PreTrainedTokenizerBase | None, model: PreTrainedModel, folder: Path) -> None:
    """The error for a tokenizer that knows no word, as transformers makes one where its files are missing, or more
    words than the network has vectors for. One without a padding token gets one: what is padded is masked."""
    if words is None or words.vocab_size <= len(set(words.all_special_ids)):
        raise WrongUse(
            f"{folder}: expected the tokenizer's files (tokenizer.json, vocab.txt, a .model), found none that names a "
            "word"
        )
    table = model.get_input_embeddings()
    rows = getattr(table, "num_embeddings", None)
    if rows is not None and words.vocab_size > rows:
        raise DataError(
            f"{folder}: expected a tokenizer of at most {rows} words, as many as the network has vectors for, found "
            f"{words.vocab_size}"
        )
    if words.pad_token is None:
        words.pad_token = words.eos_token or words.unk_token or words.convert_ids_to_tokens(0)
        model.config.pad_token_id = words.pad_token_id
