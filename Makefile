# What to type: `make demo` (the whole way, small), `make test`, `make check`.
# PYTHON picks the interpreter for a new environment; 3.11, 3.12 and 3.13 are supported.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
EXTRAS ?= demo,dev
TORCH := parity/hugging_face.py parity/hugging_face_files.py

.PHONY: demo test check parity bench scale install clean

demo: install
	$(BIN)/mswitch demo --out runs/demo

test: install
	$(BIN)/python -m pytest

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 13); \
	sys.exit(0 if ok else "mswitch needs Python 3.11, 3.12 or 3.13 and found " + sys.version.split()[0] + " at " + sys.executable + "; name another one, for example: make demo PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

# Live comparisons with the reference implementations, in environments of their own.
parity: $(VENV)-parity/.installed $(VENV)-parity-torch/.installed
	@set -e; for script in $(filter-out $(TORCH),$(wildcard parity/*.py)); do \
		echo "== $$script"; $(VENV)-parity/bin/python $$script; done
	@set -e; for script in $(TORCH); do \
		echo "== $$script"; $(VENV)-parity-torch/bin/python $$script; done

$(VENV)-parity/.installed: pyproject.toml constraints.txt parity/requirements.txt
	@test -x $(VENV)-parity/bin/python || $(PYTHON) -m venv $(VENV)-parity
	$(VENV)-parity/bin/python -m pip install --quiet --upgrade pip
	$(VENV)-parity/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[demo,dev]' \
		--requirement parity/requirements.txt
	@touch $@

$(VENV)-parity-torch/.installed: pyproject.toml constraints.txt parity/requirements_hugging_face.txt
	@test -x $(VENV)-parity-torch/bin/python || $(PYTHON) -m venv $(VENV)-parity-torch
	$(VENV)-parity-torch/bin/python -m pip install --quiet --upgrade pip
	$(VENV)-parity-torch/bin/python -m pip install --quiet --constraint constraints.txt --editable . \
		--requirement parity/requirements_hugging_face.txt
	@touch $@

# Ratios, measured side by side in one run; each script writes benchmarks/results/*.json.
bench: install
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script; done

# docs/scale.md, a plan a row; needs EXTRAS=demo,dev,plan.
scale: install
	$(BIN)/python benchmarks/plans/scale.py

clean:
	rm -rf $(VENV) $(VENV)-parity $(VENV)-parity-torch runs build dist
