"""Networks from nothing, sized for a laptop: the shape of a published architecture at any size, with a tokenizer
trained on the user's own texts; and the switches that survive a save: which way a decoder looks, an end-of-text token,
all layers given out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from umekomi.errors import DataError, WrongUse
from umekomi.models.backbone import TransformerBackbone

ARCHITECTURES = {
    "bert": ("BertConfig", "BertForMaskedLM"),
    "modernbert": ("ModernBertConfig", "ModernBertForMaskedLM"),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM"),
    "mistral": ("MistralConfig", "MistralForCausalLM"),
}
"""The shapes there are, by name: their configuration and the network with its head, in transformers."""
DECODERS = ("qwen3", "mistral")
SWITCHED = ("qwen3", "mistral", "llama")
"""Decoders that read ``is_causal`` of their configuration (transformers 5.23; a test looks at what their tokens
see)."""
SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
    "eos_token": "[EOS]",
}


def tokenizer(texts: Iterable[str], vocabulary: int = 8000, *, decoder: bool = False, max_length: int = 512) -> Any:
    """A byte-level BPE tokenizer of ``texts`` (any language, nothing unknown), in transformers' form. A decoder's texts
    end in [EOS]; an encoder's stand between [CLS] and [SEP]."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    names = list(SPECIAL.values())
    if vocabulary < 256 + len(names):
        raise WrongUse(
            f"vocabulary: expected {256 + len(names)} or more (every byte and {len(names)} marks), found {vocabulary}"
        )
    made = Tokenizer(models.BPE(unk_token="[UNK]"))
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=names,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    ends = [(name, made.token_to_id(name)) for name in (("[EOS]",) if decoder else ("[CLS]", "[SEP]"))]
    single = "$A [EOS]" if decoder else "[CLS] $A [SEP]"
    made.post_processor = processors.TemplateProcessing(single=single, special_tokens=ends)
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=max_length, padding_side="right", **SPECIAL)


def scratch(
    architecture: str,
    texts: Sequence[str],
    *,
    layers: int = 4,
    width: int = 128,
    heads: int = 4,
    hidden: int = 0,
    vocabulary: int = 8000,
    max_length: int = 512,
    dropout: float = 0.1,
    seed: int = 0,
) -> TransformerBackbone:
    """A randomly initialised network of one of the :data:`ARCHITECTURES`, and a tokenizer trained on ``texts``.
    ``hidden`` is the width within its MLPs (4 · ``width`` for encoders, 8/3 · ``width`` for gated ones where 0)."""
    import torch
    import transformers

    if architecture not in ARCHITECTURES:
        raise WrongUse(f"architecture: expected one of {', '.join(ARCHITECTURES)}, found {architecture!r}")
    if min(layers, width, heads) < 1 or width % heads or (width // heads) % 2:
        raise WrongUse(f"{architecture}: expected a width that {heads} heads share evenly, found {width}")
    if not texts:
        raise DataError(f"{architecture}: expected texts to train a tokenizer on, found none")
    words = tokenizer(texts, vocabulary, decoder=architecture in DECODERS, max_length=max_length)
    hidden = hidden or (4 * width if architecture == "bert" else round(8 * width / 3 / 8) * 8)
    shape: dict[str, Any] = {
        "vocab_size": len(words),
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": hidden,
        "max_position_embeddings": max_length,
        "pad_token_id": words.pad_token_id,
        "eos_token_id": words.eos_token_id,
        "bos_token_id": None,
    }
    if architecture in DECODERS:
        shape |= {
            "num_key_value_heads": heads,
            "head_dim": width // heads,
            "attention_dropout": dropout,
            "is_causal": True,
            "tie_word_embeddings": True,
        }
        shape |= {"sliding_window": None}
    elif architecture == "bert":
        shape |= {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    else:
        shape |= {"attention_dropout": dropout, "mlp_dropout": dropout, "embedding_dropout": dropout}
        shape |= {
            "cls_token_id": words.cls_token_id,
            "sep_token_id": words.sep_token_id,
            "bos_token_id": words.cls_token_id,
        }
    config, network = (getattr(transformers, name) for name in ARCHITECTURES[architecture])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = network(config(**shape))
    return TransformerBackbone(
        model, words, f"{architecture}-{layers}x{width}", {"licence": "Apache-2.0", "scratch": shape | {"seed": seed}}
    )


def decodes(model: Any) -> bool:
    """Is this a decoder whose direction can be chosen?"""
    return getattr(getattr(model, "config", model), "model_type", None) in SWITCHED


def bidirectional(model: Any, on: bool = True) -> None:
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


def sees(model: Any, tokens: Sequence[int]) -> Any:
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


def with_eos(words: Any, token: str | None = None) -> Any:
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


def _leading(words: Any) -> list[tuple[int, str]]:
    """The special tokens that the tokenizer puts before a text."""
    bare, whole = words("a", add_special_tokens=False)["input_ids"], words("a")["input_ids"]
    return (
        [(number, words.convert_ids_to_tokens(number)) for number in whole[: whole.index(bare[0])]]
        if bare and bare[0] in whole
        else []
    )


def needs(words: Any, which: str, who: str) -> int:
    """The number of a special token (``"mask"``, ``"eos"`` …), or the error of a recipe that cannot do without it."""
    number = getattr(words, f"{which}_token_id", None)
    if number is None:
        raise WrongUse(f"{who}: expected a tokenizer with a {which} token, {type(words).__name__} has none")
    return int(number)


def with_all_layers(model: Any) -> None:
    """Let a sentence-transformers model's network give all hidden states (:class:`umekomi.parts.pooling.LayerMix` needs
    them)."""
    model.transformers_model.config.output_hidden_states = True
