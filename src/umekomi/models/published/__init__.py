"""Models that others published: the catalogue, and layouts read without running their code."""
