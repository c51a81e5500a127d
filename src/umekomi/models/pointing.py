"""An embedder learned by pointing: a recurrent network reads a text and must come near a vector that is given; what the
recurrent DictRep and CaptionRep share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.errors import DataError
from umekomi.files import content_hash
from umekomi.models.sequence import SequenceEmbedder
from umekomi.models.word_tables import begin_words
from umekomi.run import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray


def learn_recurrent(
    own: Any,
    texts: Sequence[str],
    target: NDArray[np.float32],
    start: Any,
    run: Run,
    about: dict[str, Any],
) -> SequenceEmbedder:
    """The embedder of a network whose vectors of ``texts`` point at ``target`` ``[texts, dim]``, of length one; ``own``
    is the recipe, with the fields of ``dictrep``, ``start`` a table of word vectors to read by, through a map that is
    learned, or None; ``about`` is what its card says beside."""
    from umekomi.parts.layers.sentence import MappedEncoder, WordNetwork, load_words
    from umekomi.parts.learning.aiming import learn_to_point
    from umekomi.parts.learning.generating import Ragged, adam
    from umekomi.parts.learning.modules import seed_globals

    words = begin_words(
        texts,
        start,
        own.name,
        dimensions=own.dimensions,
        split="treebank" if own.tokenizer == "auto" else own.tokenizer,
        min_count=own.min_count,
        begin="",
        skips_unknown=start is not None,
        generator=run.generator(),
    )
    rows = Ragged.of(words.reader.read(texts))
    kept = np.flatnonzero(rows.lengths > 1)
    if len(kept) < 2:
        raise DataError(f"{own.name}: expected two texts or more with words, found {len(kept)} among {len(texts)}")
    with seed_globals(run.seed):
        encoder = MappedEncoder(own.dimensions, width=own.width, outputs=target.shape[1])
        network = WordNetwork(len(words.table) if start is None else 1, own.dimensions, encoder)
        if start is None:
            load_words(network.words, words.table)
        else:
            network.read_through(words.table, own.dimensions)
    _, told = learn_to_point(
        network,
        rows.take(kept),
        target[kept],
        run=run,
        key=content_hash(own.settings(), words.table.tobytes()),
        margin=own.margin,
        held_out=own.held_out,
        batch_size=own.batch_size,
        epochs=own.epochs,
        unit="texts",
        optimiser=adam(own.learning_rate),
        clip=own.clip,
        hint=f"a smaller learning_rate (now {own.learning_rate}) usually mends this",
    )
    network.fold()
    card = {"training": words.about | about | told | {"without words": len(texts) - len(kept)}}
    return SequenceEmbedder(words.reader, network, name=own.name, card=card)
