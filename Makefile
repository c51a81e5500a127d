# Two commands for a fresh machine: make demo, make test. Everything else is listed by make help.
PYTHON ?= python3
PIP = python -m pip install --disable-pip-version-check -q -c constraints.txt
VENV = .venv
LIGHT = .venv-light
IN = . $(VENV)/bin/activate &&
export HF_HUB_OFFLINE ?= 1

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ —/'

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.neural: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(IN) $(PIP) torch==2.13.0 && $(PIP) -e '.[neural,onnx]' && touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(IN) $(PIP) torch==2.13.0 && $(PIP) -e '.[dev]' && touch $@ $(VENV)/.neural

$(LIGHT)/.light: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(LIGHT)
	. $(LIGHT)/bin/activate && $(PIP) -e . && touch $@

setup: $(VENV)/.dev ## everything for development in .venv

demo: $(VENV)/.neural ## compare BM25, TF-IDF, random, minilm, its token table and minilm adapted to the data, on real input without network
	@du -sh $(VENV) | awk '{print "installed: " $$1}'
	$(IN) umekomi compare bm25 tfidf random static minilm near2 near2@64 --data pydocs --out demo-output

house: $(VENV)/.dev ## count the source, and draw its rooms into docs/house.md
	$(IN) python docs/house.py && python docs/house.py --write

parity: $(VENV)/.dev ## how far models, losses and formulas are from their references
	$(IN) python -m tests.parity

demo-light: $(LIGHT)/.light ## the same with the light install alone: no torch
	@du -sh $(LIGHT) | awk '{print "installed: " $$1}'
	. $(LIGHT)/bin/activate && umekomi compare bm25 tfidf random lsa --data pydocs --out demo-light-output

lint: $(VENV)/.dev ## ruff, mypy, import contracts
	$(IN) ruff check . && ruff format --check . && mypy && lint-imports

docs: $(VENV)/.dev ## the site, in site/
	$(IN) NO_MKDOCS_2_WARNING=1 mkdocs build --strict -q

tables: $(VENV)/.dev ## the tables of README and docs, from results/
	$(IN) python docs/tables.py

light: $(LIGHT)/.light ## the tests that the light install can run, in an environment of its own; prints its size
	. $(LIGHT)/bin/activate && $(PIP) pytest pytest-xdist hypothesis && python tests/light.py
	. $(LIGHT)/bin/activate && pytest -q -o addopts= -m 'not rare' -p no:cacheprovider -n 2 --dist loadfile --note-passed=$(LIGHT)/passed tests

test: lint docs light $(VENV)/.dev ## everything that CI runs
	$(IN) pytest -n 2 --dist loadfile --passed=$(LIGHT)/passed

test-all: test ## and what is worth running now and then: every test with all extras installed, damaged files, folders, indexes, bodies and filters by the thousand, kills by the hundred
	$(IN) pytest -n 2 --dist loadfile -m ''
	$(IN) for border in files filters folders indexes bodies gguf; do python -m tests.fuzz.$$border --cases 20000 --seed 1 || exit 1; done
	$(IN) UMEKOMI_ROUNDS=100 pytest -n 2 -m '' -k 'kills or cut_at_a_random or schemathesis' tests/indexes tests/verbs tests/server

clean: ## remove what was built
	rm -rf $(VENV) $(LIGHT) site demo-output demo-light-output

.PHONY: help setup demo demo-light lint docs tables house parity light test test-all clean
