# The usual targets: `make demo` (the whole pipeline, small), `make test`, `make check`, `make docs`.
# PYTHON picks the interpreter for a new environment; 3.11, 3.12 and 3.13 are supported.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
comma := ,
ENGINES := .engines
PROGRAMS := prism minio fake-gcs-server
CLUSTERS := flink spark
ENGINE_TESTS ?= tests/engines -m ""
EXTRAS ?= demo,dev
INSTALLED := $(VENV)/.installed-$(EXTRAS)
# $(call install-locked,PYTHON,EXTRAS,LISTS) installs extras into PYTHON's environment: the versions of
# constraints.txt, as wheels with a hash of requirements.lock, as a source package would run unlocked code.
# google-apitools, which Beam's client of Dataflow needs, is published as source alone.
define install-locked
	$(1) .ci/required.py '$(2)' > $(3).txt
	$(BIN)/uv pip compile --quiet --python $(1) --constraint constraints.txt --no-annotate --no-header \
		--output-file $(3)-versions.txt $(3).txt
	$(1) .ci/required.py --locked $(3)-versions.txt > $(3)-locked.txt
	$(BIN)/uv pip install --quiet --python $(1) --require-hashes --no-deps --only-binary :all: \
		--no-binary google-apitools --build-constraint requirements.lock --requirement $(3)-locked.txt
endef
INPUTS ?= 1000000
BENCHMARKS := $(foreach folder,cleaning training reports,$(wildcard benchmarks/$(folder)/*.py))
BESIDE_PEERS := $(addprefix benchmarks/cleaning/,clean.py near_duplicates.py quality.py)
NOT_TIMED := benchmarks/cleaning/language_confusions.py $(addprefix benchmarks/training/,pooled_drops.py router_faults.py)
TORCH := $(wildcard parity/hugging_face*.py)

.PHONY: demo typed-pages test test-slow fuzz plans simulations check parity bench faults accelerator engines engine-programs engine-jars engine-worker experiment picture scale docs install lock clean

demo: install
	$(BIN)/mswitch demo --out runs/demo

# The commands of README and of four pages, as they are written there, on tiny inputs.
typed-pages: install
	rm -rf build/typed
	$(BIN)/python .ci/typed_pages.py build/typed

test: install
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest

# What is marked slow: whole ways, browsers, killed and resumed runs, several hosts, further meshes.
test-slow: install
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -m slow

# Whole recipes compiled ahead of time for TPUs and simulated devices; needs EXTRAS=demo,dev,plan.
plans: install
	$(BIN)/python -m pytest -m plans --dist=load

# A million mutated inputs over every reader of strangers' bytes, 20 to 40 minutes on one core;
# `make fuzz INPUTS=50000` for fewer. Inputs that break a promise lie in build/fuzz.
fuzz: install
	$(BIN)/python tests/fuzz/driver.py --inputs $(INPUTS)

# Coverage of intervals and rates of false findings, over many drawn data sets. `make test` checks the
# types of the same functions; at each call of a simulation this would take 40 % of the time.
simulations: install
	JAXTYPING_DISABLE=1 $(BIN)/python -m pytest -m simulation --dist=load

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache
	$(BIN)/python .ci/prose.py
	$(BIN)/python .ci/licences.py

# The documents and the API reference as a site, in build/site; built and read without network.
docs: $(VENV)/.docs-installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/.docs-installed: $(INSTALLED)
	$(call install-locked,$(BIN)/python,docs,$(VENV)/docs)
	@touch $@

install: $(INSTALLED)

# pip and uv first, by their own lines of the lock. uv takes a third of pip's time for the others.
$(INSTALLED): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; ok = (3, 11, 5) <= sys.version_info[:3] < (3, 14); \
	sys.exit(0 if ok else "mswitch needs Python 3.11 (from 3.11.5 on), 3.12 or 3.13 and found " + sys.version.split()[0] + " at " + sys.executable + "; name another one, for example: make demo PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	sed -n -e '/^pip==/,/[^\\]$$/p' -e '/^uv==/,/[^\\]$$/p' requirements.lock > $(VENV)/installers.txt
	$(BIN)/python -m pip install --quiet --require-hashes --requirement $(VENV)/installers.txt
	$(call install-locked,$(BIN)/python,$(EXTRAS),$(VENV)/required)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "Installed. Next: . $(BIN)/activate, then mswitch --help; or make demo, which runs everything small."

# requirements.lock: hashes of every dependency and extra at the versions of constraints.txt, for
# Python 3.11, 3.12 and 3.13. Run it after a change of either file.
lock: install
	$(BIN)/python .ci/required.py '' | $(BIN)/uv pip compile pyproject.toml - --quiet --universal \
		--python-version 3.11.5 --all-extras --constraint constraints.txt --generate-hashes \
		--no-emit-package mswitch --no-annotate --no-header --output-file requirements.lock

# Comparisons with the reference implementations, in environments of their own.
parity: demo $(VENV)-parity/.installed $(VENV)-parity-torch/.installed $(VENV)-parity-commonlid/.installed
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

$(VENV)-parity-commonlid/.installed: parity/requirements_commonlid.txt
	@test -x $(VENV)-parity-commonlid/bin/python || $(PYTHON) -m venv $(VENV)-parity-commonlid
	$(VENV)-parity-commonlid/bin/python -m pip install --quiet --upgrade pip
	$(VENV)-parity-commonlid/bin/python -m pip install --quiet --requirement parity/requirements_commonlid.txt
	@touch $@

# The gain of sparsity in 101 languages at two lengths, and what dense students keep of it; takes six
# hours of two cores, and needs text of your own: make experiment TEXT="--documents DIR --web 'GLOB'".
# docs/results/README.md names what is made of finished runs.
experiment: install
	$(BIN)/python experiments/long.py --stage 0 $(TEXT)
	$(BIN)/python experiments/long.py --stage 1 $(TEXT)
	$(BIN)/python experiments/students.py $(TEXT)

# The same jobs on Beam's portable runner, on Flink, on Spark, on an S3 store, and as Dataflow receives
# them. The three programs are built from source, Flink and Spark are Maven Central's jars (470 MB, once);
# servers run on this machine, on free ports, in throw-away folders. ENGINE_TESTS=tests/engines leaves out
# those marked slow: whole ways on every engine, an exchange larger than the heaps, runs in stores that are killed.
engines: engine-programs engine-jars engine-worker $(ENGINES)/.installed
	rm -rf $(ENGINES)/wheel
	$(BIN)/python -m hatchling build --target wheel --directory $(ENGINES)/wheel
	$(ENGINES)/worker/bin/python -m pip install --quiet --no-deps --force-reinstall $(ENGINES)/wheel/*.whl
	MSWITCH_ENGINES=$(abspath $(ENGINES)) $(BIN)/python -m pytest $(ENGINE_TESTS)

engine-programs: $(PROGRAMS:%=$(ENGINES)/bin/%)

engine-jars: $(CLUSTERS:%=$(ENGINES)/%/.installed)

$(ENGINES)/.installed: $(INSTALLED)
	@mkdir -p $(ENGINES)
	$(call install-locked,$(BIN)/python,engines,$(ENGINES)/required)
	@touch $@

engine-worker: $(ENGINES)/worker/.installed

# Workers elsewhere: an environment with the wheel and what the image has, without the checkout.
$(ENGINES)/worker/.installed: pyproject.toml requirements.lock Dockerfile $(INSTALLED)
	@test -x $(ENGINES)/worker/bin/python || $(PYTHON) -m venv $(ENGINES)/worker
	$(call install-locked,$(ENGINES)/worker/bin/python,s3$(comma)gcs$(comma)fasttext,$(ENGINES)/worker/required)
	@touch $@

# Without the jars of a cluster its tests are skipped.
$(CLUSTERS:%=$(ENGINES)/%/.installed): $(ENGINES)/%/.installed: tests/engines/%/pom.xml
	@mkdir -p $(@D) && rm -rf $(@D)/jars
	@nice -n 10 mvn --batch-mode --no-transfer-progress --strict-checksums --file $< dependency:copy-dependencies \
		-DincludeScope=runtime -DoutputDirectory=$(abspath $(@D)/jars) > $(@D)/maven.log 2>&1 && touch $@ || \
		echo "SKIPPED: make engines on $*. Maven could not fetch its jars; the reason is in $(@D)/maven.log." >&2

$(ENGINES)/bin/prism: constraints.txt
	$(call built,github.com/apache/beam/sdks/v2/go/cmd/prism@v$(shell sed -n 's/^apache-beam==//p' constraints.txt))

$(ENGINES)/bin/minio:
	$(call built,github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c)

$(ENGINES)/bin/fake-gcs-server:
	$(call built,github.com/fsouza/fake-gcs-server@v1.56.1)

define built
@command -v go >/dev/null || { echo "make engines builds $(notdir $@) from source and found no Go on PATH; install Go 1.26 or later (golang-go in many systems' packages), or put a $(notdir $@) of your own at $@." >&2; exit 1; }
GOBIN=$(abspath $(ENGINES)/bin) nice -n 10 go install $(1)
@touch $@
endef

# Ratios, measured side by side in one run; each script writes benchmarks/results/*.json. Three run
# beside a peer in its environment, one starts a peer's, and several read the demo's tokens. Left out
# are language_confusions.py, which writes a table of the product, and pooled_drops.py and
# router_faults.py, which need a run or its tokens.
bench: demo $(VENV)-parity/.installed $(VENV)-streaming/.installed
	@set -e; for script in $(BESIDE_PEERS); do \
		echo "== $$script"; $(VENV)-parity/bin/python $$script; done
	@set -e; for script in $(filter-out $(BESIDE_PEERS) $(NOT_TIMED),$(BENCHMARKS)); do \
		echo "== $$script"; PYTHONPATH=.:tests/helpers:.ci $(BIN)/python $$script; done

$(VENV)-streaming/.installed: benchmarks/training/requirements_streaming.txt
	@test -x $(VENV)-streaming/bin/python || $(PYTHON) -m venv $(VENV)-streaming
	$(VENV)-streaming/bin/python -m pip install --quiet --upgrade pip
	$(VENV)-streaming/bin/python -m pip install --quiet --requirement benchmarks/training/requirements_streaming.txt
	@touch $@

# Kills, full and read-only disks, failing stores, two commands on one directory, jumping clocks and
# changing input, at every stage; about an hour. Disks are mounted in memory, which needs root.
faults: install
	PYTHONPATH=tests/helpers $(BIN)/python -m tests.faults

# What this machine's TPUs or GPUs show, in ten minutes: docs/results/accelerator.md. On a CPU tiny
# sizes, in build/accelerator.
accelerator: install
	$(BIN)/python -m benchmarks.accelerator

# README's picture: the gains of the published runs, as today's report draws them. It needs Chromium.
PUBLISHED := docs/results/long/runs
picture: install
	rm -rf build/published
	$(BIN)/mswitch report --baseline $(PUBLISHED)/mt5-*/* --candidate $(PUBLISHED)/switch-*/* --out build/published
	$(BIN)/python .ci/photograph_report.py build/published build/pictures
	cp build/pictures/light-gains.png docs/gains.png

# docs/scale.md, one plan per row; needs EXTRAS=demo,dev,plan.
scale: install
	$(BIN)/python benchmarks/plans/scale.py

clean:
	rm -rf $(VENV) $(VENV)-3.11 $(VENV)-parity $(VENV)-parity-torch $(VENV)-parity-commonlid $(VENV)-streaming $(VENV)-gpu $(ENGINES) runs/demo build dist
