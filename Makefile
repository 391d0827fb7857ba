# Everything a newcomer runs. On a machine with only Python 3.11 and make, each target first builds
# what it needs: a virtual environment in .venv with the pinned packages.
PYTHON ?= python3.11
VENV := .venv
# Another environment that already holds `pip install -e .[dev]` can stand in: make PY=... test
PY ?= $(VENV)/bin/python
READY := $(if $(filter $(VENV)/bin/python,$(PY)),$(VENV)/ready-dev)
PEERS_READY := $(if $(filter $(VENV)/bin/python,$(PY)),$(VENV)/ready-peers)
CHARTS_READY := $(if $(filter $(VENV)/bin/python,$(PY)),$(VENV)/ready-charts)
ZOO_READY := $(if $(filter $(VENV)/bin/python,$(PY)),$(VENV)/ready-zoo)

# Which set of acceptance lines, by name or number.
ISSUE ?= main-job
SET_2 := main-job
SET_3 := exact-rewrites
SET_4 := cpu-kernels

.PHONY: demo test slow check zoo acceptance mutants docs chart clean help

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(READY) ## compile a text recognizer, run it, compare it with ONNX Runtime
	@$(PY) -m benchmarks.demo

# Where bytecode is not written, every process of the tests compiles every module anew.
test slow: export PYTHONDONTWRITEBYTECODE :=

test: $(READY) ## run the tests but for the slow ones: two minutes on two cores
	$(PY) -m pytest -n auto --dist worksteal -m 'not slow'

slow: $(READY) ## run all tests, the slow ones too, with more examples
	$(PY) -m pytest -n auto --dist worksteal --hypothesis-profile=full

check: $(READY) ## format, lint, types, packaging, benchmark smoke, make test
	PYTHON=$(PY) .ci/run

zoo: $(ZOO_READY) ## build every model of the zoo into a checksummed cache
	$(PY) -m benchmarks zoo

acceptance: zoo $(PEERS_READY) ## measure what is asked of burnish: make acceptance ISSUE=main-job
	$(PY) -m benchmarks acceptance $(or $(SET_$(ISSUE)),$(ISSUE))

mutants: $(READY) ## remove ten guards of passes in turn; the tests must notice each
	$(PY) -m tests.mutation

docs: $(READY) ## write the generated tables of README.md and docs/latency.md anew
	$(PY) -m benchmarks.readme

chart: $(CHARTS_READY) ## draw docs/latency.svg from recorded figures
	$(PY) -m benchmarks.chart

clean: ## remove everything that the targets built
	rm -rf $(VENV) .typecheck .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist demo

$(VENV)/ready-dev: pyproject.toml
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) not found; name another with make PYTHON=..." >&2; exit 1; }
	@echo "setting up $(VENV): about a minute, once"
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	@# An editable install is not compiled, and where PYTHONDONTWRITEBYTECODE is set it never would be.
	@$(VENV)/bin/python -m compileall -q compiler passes backends
	@touch $@

$(VENV)/ready-zoo: $(VENV)/ready-dev
	@$(VENV)/bin/python -m pip install -q --disable-pip-version-check -e '.[zoo]'
	@touch $@

$(VENV)/ready-peers: $(VENV)/ready-dev
	@$(VENV)/bin/python -m pip install -q --disable-pip-version-check -e '.[peers]'
	@touch $@

$(VENV)/ready-charts: $(VENV)/ready-dev
	@$(VENV)/bin/python -m pip install -q --disable-pip-version-check -e '.[charts]'
	@touch $@
