"""An embedder learned by writing: a recurrent network reads a text, a decoder writes it again, or another one, from the
network's last state; what SDAE and translation share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from umekomi.errors import DataError
from umekomi.files import content_hash
from umekomi.models.sequence import SequenceEmbedder
from umekomi.models.word_tables import begin_words
from umekomi.run import Run


def learn_to_write(
    own: Any,
    read: Sequence[str],
    written: Sequence[str] | None,
    start: Any,
    run: Run,
    *,
    noise: Callable[..., Any] | None = None,
    side: Literal["sentences", "pairs"] = "sentences",
) -> SequenceEmbedder:
    """The embedder of a network that reads texts and learns by what a decoder writes from its vectors.

    Args:
        own: the recipe, with the fields of ``sdae`` and ``nmt``.
        read: what is read.
        written: what is written of each; None: the same text, by one table of words where none is given.
        start: a table of word vectors to read by, through a map that is learned; or None.
        run: who, seed, checkpoint, progress.
        noise: what damages the texts that are read.
        side: what the rows are, for errors.
    """
    from umekomi.parts.layers.decoder import Decoder
    from umekomi.parts.layers.sentence import RecurrentEncoder, WordNetwork, load_words
    from umekomi.parts.layers.softmax import sampled_of
    from umekomi.parts.learning.generating import EncoderDecoder, Ragged, TextRows, adam, learn_generating
    from umekomi.parts.learning.modules import seed_globals

    def words_of(texts: Sequence[str], given: Any, key: int) -> Any:
        return begin_words(
            texts,
            given,
            own.name,
            dimensions=own.word_dimensions,
            split=own.tokenizer,
            min_count=own.min_count,
            vocabulary=own.vocabulary,
            begin="",
            skips_unknown=given is not None,
            generator=run.generator(*([key] if key else [])),
        )

    target = words_of(read if written is None else written, None, 0)
    source = target if written is None and start is None else words_of(read, start, 1)
    outputs = Ragged.of(target.reader.read(read if written is None else written))
    inputs = outputs if source is target else Ragged.of(source.reader.read(read))
    fits = (outputs.lengths > 1) & (inputs.lengths > 1)
    fits &= (outputs.lengths <= own.longest + 1) & (inputs.lengths <= own.longest + 1)
    kept = np.flatnonzero(fits)
    if len(kept) < 2:
        raise DataError(
            f"{own.name}: expected two {side} or more of 1 to {own.longest} words, found {len(kept)} among {len(read)}"
        )
    with seed_globals(run.seed):
        encoder = RecurrentEncoder(
            own.word_dimensions, width=own.dimensions, cell=own.cell, directions="forward", pooling="last"
        )
        network = WordNetwork(len(source.table) if start is None else 1, own.word_dimensions, encoder)
        if start is None:
            load_words(network.words, source.table)
        else:
            network.read_through(source.table, own.word_dimensions)
        words = network.words
        if source is not target:
            import torch

            words = torch.nn.Embedding(len(target.table), own.word_dimensions)
            load_words(words, target.table)
        decoder = Decoder(
            words,
            own.dimensions,
            own.dimensions,
            cell=own.cell,
            every_step=own.every_step,
            readout=own.readout,
            tied=own.tied,
            sampled=sampled_of(own.softmax, len(target.table), own.sampled),
        )
        module = EncoderDecoder(network, [decoder])
    _, about = learn_generating(
        module,
        TextRows(inputs, outputs, np.stack([kept, kept], 1)),
        run=run,
        key=content_hash(own.settings(), source.table.tobytes()),
        held_out=own.held_out,
        batch_size=own.batch_size,
        epochs=own.epochs,
        noise=noise,
        optimiser=adam(own.learning_rate),
        clip=own.clip,
        patience=own.patience,
        hint=f"a smaller learning_rate (now {own.learning_rate}) usually mends this",
    )
    network.fold()
    about |= {"left out": len(read) - len(kept), "words foretold": len(target.table)}
    return SequenceEmbedder(source.reader, network, name=own.name, card={"training": source.about | about})
