"""Static distillation: a transformer's own vectors of its vocabulary as a token table, in the line of model2vec (Tulkens & van
Dongen 2024), whitened under the tokens' real frequencies (Yokoi, Bao, Kurita & Shimodaira, "Zipfian whitening", NeurIPS
2024, arXiv 2411.00680) where model2vec takes a token's rank for its frequency.

Every entry of the vocabulary goes through the model once, between the tokens the model puts around a text; its pooled vector,
before any normalisation, is its row. Mean and covariance under the frequencies are taken out, the largest ``dimensions``
directions kept, and a row is then weighed by a / (a + p) (Arora, Liang & Ma 2017) where ``sif`` is above zero. A text is the
mean of its tokens' rows: no transformer at run time.

With texts given, the rows are first moved so that the means come near to the model's own vectors of those texts (ridge
regression, ``strength`` towards the rows as they were): distillation on one's own data, as tokenlearn does by gradient steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from umekomi.contracts import Paper, Recipe
from umekomi.data.frequencies import of_tokens
from umekomi.data.views import texts
from umekomi.errors import WrongUse
from umekomi.models.static import StaticEmbedder
from umekomi.progress import Progress, say
from umekomi.transforms.whitening import Sif, Whitening, ZipfianWhitening

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
