"""Networks from nothing, sized for a laptop: the shape of a published architecture at any size, with a tokenizer
trained on the user's own texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from umekomi.errors import DataError, WrongUse
from umekomi.models.backbone import TransformerBackbone

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

ARCHITECTURES = {
    "bert": ("BertConfig", "BertForMaskedLM"),
    "modernbert": ("ModernBertConfig", "ModernBertForMaskedLM"),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM"),
    "mistral": ("MistralConfig", "MistralForCausalLM"),
}
"""The shapes there are, by name: their configuration and the network with its head, in transformers."""
DECODERS = ("qwen3", "mistral")


def _size(architecture: str, layers: int, width: int, hidden: int, vocabulary: int, max_length: int) -> dict[str, Any]:
    shape = {"layers": layers, "width": width, "heads": width // 64, "hidden": hidden, "vocabulary": vocabulary}
    return {"architecture": architecture, "max_length": max_length, **shape}


SIZES: dict[str, dict[str, Any]] = {
    "ruri-small": _size("bert", 6, 768, 3072, 32768, 512),
    "ruri-base": _size("bert", 12, 768, 3072, 32768, 512),
    "ruri-large": _size("bert", 24, 1024, 4096, 32768, 512),
    "ruri-v3-30m": _size("modernbert", 10, 256, 1024, 102400, 8192),
    "ruri-v3-70m": _size("modernbert", 13, 384, 1536, 102400, 8192),
    "ruri-v3-130m": _size("modernbert", 19, 512, 2048, 102400, 8192),
    "ruri-v3-310m": _size("modernbert", 25, 768, 3072, 102400, 8192),
}
"""The sizes of published models, as :func:`untrained_transformer` takes them: ``untrained_transformer(texts=texts,
**SIZES["ruri-v3-30m"])``. ruri-small is a DistilBERT, here a BERT of its numbers."""
SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
    "eos_token": "[EOS]",
}


def train_tokenizer(
    texts: Iterable[str], vocabulary: int = 8000, *, decoder: bool = False, max_length: int = 512
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of ``texts`` (any language, nothing unknown), in transformers' form. A decoder's texts
    end in [EOS]; an encoder's stand between [CLS] and [SEP]."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    names = list(SPECIAL.values())
    if vocabulary < 256 + len(names):
        raise WrongUse(
            f"vocabulary: expected {256 + len(names)} or more (every byte and {len(names)} marks), found {vocabulary}"
        )
    fast = Tokenizer(models.BPE(unk_token="[UNK]"))
    fast.normalizer = normalizers.NFKC()
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=names,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    fast.train_from_iterator(texts, trainer)
    ends = [(name, fast.token_to_id(name)) for name in (("[EOS]",) if decoder else ("[CLS]", "[SEP]"))]
    single = "$A [EOS]" if decoder else "[CLS] $A [SEP]"
    fast.post_processor = processors.TemplateProcessing(single=single, special_tokens=ends)
    return PreTrainedTokenizerFast(tokenizer_object=fast, model_max_length=max_length, padding_side="right", **SPECIAL)


def untrained_transformer(
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

    Args:
        architecture: its name.
        texts: the tokenizer is learned from.
        layers: of the network.
        width: of its vectors.
        heads: of its attention.
        hidden: the width within its MLPs; 0: 4 · ``width`` for encoders, 8/3 · ``width`` for gated ones.
        vocabulary: tokens, at most.
        max_length: tokens of a text that are read.
        dropout: while it trains.
        seed: of its weights.
    """
    import torch
    import transformers

    if architecture not in ARCHITECTURES:
        raise WrongUse(f"architecture: expected one of {', '.join(ARCHITECTURES)}, found {architecture!r}")
    if min(layers, width, heads) < 1 or width % heads or (width // heads) % 2:
        raise WrongUse(f"{architecture}: expected a width that {heads} heads share evenly, found {width}")
    if not texts:
        raise DataError(f"{architecture}: expected texts to train a tokenizer on, found none")
    words = train_tokenizer(texts, vocabulary, decoder=architecture in DECODERS, max_length=max_length)
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
