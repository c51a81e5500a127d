"""Files and folders of documents as Arrow tables."""

from __future__ import annotations

import pyarrow as pa

from umekomi.data.readers.file import FileSource
from umekomi.data.readers.folders import folder, parts_of
from umekomi.errors import WrongUse


class Source(FileSource):
    """A file, or a folder of documents; the arguments are :class:`FileSource`'s."""

    def _read_folder(self) -> pa.Table:
        if self.path.is_file():
            return parts_of([self.path], self.path)
        documents = folder(self.path, self.encoding)
        if not hasattr(documents, "column_names"):
            raise WrongUse(f"{self.path}: expected a file, or a folder of documents; name one of its files")
        return documents
