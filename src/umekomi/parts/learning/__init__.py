"""Learners: compiled arrays by epochs, sentence-transformers' trainer, language modelling, plain torch modules."""
