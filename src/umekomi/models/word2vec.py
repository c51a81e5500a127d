"""The word2vec text and binary formats (Mikolov et al. 2013), which gensim, fastText and GloVe tools read."""

from __future__ import annotations

from pathlib import Path

from umekomi.errors import DataError, where
from umekomi.files import whole_file
from umekomi.models.entity import EntityEmbedder


def read(path: str | Path, *, binary: bool | None = None) -> EntityEmbedder:
    """A table from a word2vec file; ``binary`` is worked out from the ending ``.bin`` when not said. A GloVe text file,
    which has no header, is read too."""
    import numpy as np

    path = Path(path)
    if binary is None:
        binary = path.suffix == ".bin"
    data = path.read_bytes()
    end = data.find(b"\n")
    header = data[:end].split()
    if len(header) != 2 or not all(part.isdigit() for part in header):
        if binary:
            raise DataError(f"{where(str(path), 1)}: expected 'count dimensions', found {data[:60]!r}")
        header, end = [b"0", b"%d" % (len(header) - 1)], -1
    count, dimension = int(header[0]), int(header[1])
    names: list[str] = []
    rows = []
    if binary:
        position, width = end + 1, 4 * dimension
        for number in range(count):
            space = data.find(b" ", position)
            if space < 0 or space + 1 + width > len(data):
                raise DataError(f"{path}: expected {count} vectors, found that the file ends in vector {number + 1}")
            names.append(data[position:space].decode("utf-8").lstrip("\n"))
            rows.append(np.frombuffer(data, np.float32, dimension, space + 1))
            position = space + 1 + width
    else:
        for number, line in enumerate(data[end + 1 :].decode("utf-8").split("\n"), 2 if count else 1):
            if not line:
                continue
            name, *values = line.rstrip(" ").split(" ")
            if len(values) != dimension:
                raise DataError(
                    f"{where(str(path), number)}: expected a name and {dimension} numbers, found {len(values)} numbers"
                )
            try:
                rows.append(np.array(values, np.float32))
            except ValueError:
                raise DataError(
                    f"{where(str(path), number)}: expected numbers, found {' '.join(values)[:60]!r}"
                ) from None
            names.append(name)
        if count and count != len(names):
            raise DataError(f"{path}: expected {count} vectors, found {len(names)}")
    return EntityEmbedder(names, np.stack(rows) if rows else np.zeros((0, dimension), np.float32), name=path.stem)


def write(table: EntityEmbedder, path: str | Path, *, binary: bool | None = None) -> None:
    """The table as a word2vec file. A name with white space cannot stand in this format: an error, not a changed
    name."""
    path = Path(path)
    if binary is None:
        binary = path.suffix == ".bin"
    for name in table.names:
        if not name or any(character.isspace() for character in name):
            raise DataError(f"the word2vec format separates by spaces: the name {name!r} cannot be written")
    with whole_file(path) as temporary, temporary.open("wb") as stream:
        stream.write(f"{len(table.names)} {table.dimension}\n".encode())
        for name, vector in zip(table.names, table.vectors, strict=True):
            if binary:
                stream.write(name.encode() + b" " + vector.tobytes() + b"\n")
            else:
                # repr of float32 is the shortest text that reads back to the same number
                stream.write((name + " " + " ".join(str(value) for value in vector) + "\n").encode())
