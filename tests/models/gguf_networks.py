"""Small networks that know nothing, one of each architecture that GGUF files are read of, as text embedders."""

from __future__ import annotations

from functools import cache

from conftest import TEXTS

CONTEXT = 96
WIDTH = 64
COMMON = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.2,
}
SHARED = COMMON | {"num_key_value_heads": 2, "head_dim": 16, "tie_word_embeddings": True}
ROPE = {"rope_type": "default", "rope_theta": 5000.0}
BOTH = {"full_attention": ROPE, "sliding_attention": {"rope_type": "default", "rope_theta": 700.0}}
KINDS = ["sliding_attention", "full_attention", "sliding_attention"]
SETTINGS = {
    "bert": ("BertConfig", "BertModel", COMMON),
    "xlm-roberta": ("XLMRobertaConfig", "XLMRobertaModel", COMMON | {"max_position_embeddings": CONTEXT + 2}),
    "nomic-bert": ("NomicBertConfig", "NomicBertModel", COMMON | {"rope_parameters": ROPE}),
    "modern-bert": (
        "ModernBertConfig",
        "ModernBertModel",
        COMMON | {"layer_types": KINDS, "local_attention": 8, "rope_parameters": BOTH},
    ),
    "llama": ("LlamaConfig", "LlamaModel", SHARED | {"rope_parameters": ROPE}),
    "qwen2": ("Qwen2Config", "Qwen2Model", SHARED | {"rope_parameters": ROPE}),
    "qwen3": ("Qwen3Config", "Qwen3Model", SHARED | {"rope_parameters": ROPE, "head_dim": 32}),
    "gemma3": (
        "Gemma3TextConfig",
        "Gemma3TextModel",
        SHARED | {"layer_types": KINDS, "sliding_window": 8, "rope_parameters": BOTH, "query_pre_attn_scalar": 16},
    ),
    "gemma-embedding": (
        "Gemma3TextConfig",
        "Gemma3TextModel",
        SHARED
        | {"layer_types": KINDS, "sliding_window": 8, "rope_parameters": BOTH, "query_pre_attn_scalar": 16}
        | {"use_bidirectional_attention": True},
    ),
}
DECODERS = ("llama", "qwen2", "qwen3", "gemma3")


@cache
def words(sort: str):
    """A tokenizer trained on a few texts: WordPiece, unigrams, or pairs of bytes."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    if sort == "pieces":
        made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        made.normalizer = normalizers.BertNormalizer(lowercase=True)
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=special)
    elif sort == "unigrams":
        made = Tokenizer(models.Unigram())
        made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
        special = ["[UNK]", "[PAD]", "[CLS]", "[SEP]"]  # RoBERTa counts places from behind its padding's number, 1
        trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=special, unk_token="[UNK]")
    else:
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=350, special_tokens=special, initial_alphabet=alphabet)
    made.train_from_iterator(TEXTS * 4, trainer)
    if sort == "pairs":
        made.post_processor = processors.TemplateProcessing(single="$A [SEP]", special_tokens=[("[SEP]", 3)])
    else:
        made.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", model_max_length=CONTEXT
    )


def embedder(architecture: str, pooling: str = "", name: str = "tiny"):
    """A text embedder of this architecture with random weights, norms and biases among them."""
    import tempfile

    import torch
    import transformers
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    from umekomi.models.text import TextEmbedder

    config, network, settings = SETTINGS[architecture]
    sort = {"xlm-roberta": "unigrams"}.get(architecture, "pairs" if architecture in DECODERS else "pieces")
    fast = words(sort)
    torch.manual_seed(0)
    made = getattr(transformers, network)(
        getattr(transformers, config)(
            vocab_size=len(fast), pad_token_id=1 if sort == "unigrams" else 0, bos_token_id=None, eos_token_id=None,
            **({} if architecture in DECODERS else {"cls_token_id": 2, "sep_token_id": 3} if "modern" in architecture
               else {}),
            **settings,
        )
    ).eval()  # fmt: skip
    with torch.no_grad():
        for value in made.parameters():
            if value.ndim == 1:
                value.add_(0.3 * torch.randn_like(value))
    with tempfile.TemporaryDirectory() as place:
        made.save_pretrained(place)
        fast.save_pretrained(place)
        layer = Transformer(place, max_seq_length=CONTEXT, config_kwargs={"local_files_only": True})
        layer.auto_model = made
    layer.tokenizer.padding_side = "right"
    pooling = pooling or ("lasttoken" if architecture in DECODERS else "mean")
    model = SentenceTransformer(modules=[layer, Pooling(WIDTH, pooling), Normalize()], device="cpu")
    return TextEmbedder(model, name)
