"""Questions made from documents that nobody has judged: a stand-in for real ones, filtered, kept as a set that can be
read and edited. ``umekomi reproduce questions`` measures how far rankings by them agree with rankings by real ones."""

from umekomi.tasks.questions.making import Made, documents_of, make_questions, read_questions, write_questions
from umekomi.tasks.questions.ways import WAYS

__all__ = ["WAYS", "Made", "documents_of", "make_questions", "read_questions", "write_questions"]
