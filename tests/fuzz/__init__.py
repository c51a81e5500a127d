"""Generated input against each border, in quantity: ``python -m tests.fuzz.NAME --cases 100000 --seed 1``."""
