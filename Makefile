# Two commands on a fresh machine do everything: `make demo` and `make test`. Both build the environment first.
PYTHON ?= python3
VENV   ?= .venv
PINNED ?= constraints.txt
RUN    := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
PEERS  := $(VENV)/.peers

.PHONY: help setup demo check lint test test-slurm test-browser test-lowest mutants docs clean

help:
	@echo "make demo         environment, then the whole story on embedded data (7 minutes on 2 cores)"
	@echo "make test         environment, then every check (12 to 13 minutes on 2 cores)"
	@echo "make check        style, types and the quick tests (3 minutes on 2 cores)"
	@echo "make test-slurm   sweeps and scripts on a real Slurm of this machine, which it starts (1 to 4 minutes; SLOW=1: preemption and time limits too, 8 more)"
	@echo "make test-browser the pages of reports at three widths in Chromium, light and dark, with axe-core (npm gets it; 2 minutes)"
	@echo "make test-lowest  the quick tests with the oldest versions that are allowed, in .venv-lowest (Python 3.11 or 3.12)"
	@echo "make mutants      40 small faults put into one room (ROOM=optim), and which of them its quick tests do not notice"
	@echo "make docs         the documentation as a site in build/site, every link checked (an environment of its own; 1 minute)"
	@echo "make setup        only the environment, in $(VENV)"
	@echo "make clean        remove the environments and caches (outputs/ stays)"

setup: $(STAMP)

$(STAMP): pyproject.toml $(PINNED)
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else f"Python 3.11, 3.12 or 3.13 is needed, $(PYTHON) is {v[0]}.{v[1]}; choose another: make PYTHON=python3.12 ...")'
	@echo "Building the environment in $(VENV) (about 2 minutes and 5.5 GB) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --constraint $(PINNED) --editable ".[dev]"
	@touch $@
	@echo "The environment is ready. To use it in this shell: source $(VENV)/bin/activate"

demo: setup
	@$(RUN) -m mae_hydra demo
	@echo "To go on from here: source $(VENV)/bin/activate"

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

# What tests compare with: mmsegmentation's Python files, without its compiled operators.
$(PEERS): $(STAMP) tests/peers.txt
	@MMCV_WITH_OPS=0 $(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement tests/peers.txt
	@touch $@

check: lint $(PEERS)
	$(RUN) -m pytest -q -n 2 --dist worksteal -m "not slow" --ignore=tests/slurm

test: lint $(PEERS)
	$(RUN) -m pytest -q -n 2 --dist worksteal --ignore=tests/slurm

# Its programs are installed where that is allowed; the tests start a Slurm of one node as the user who types this.
test-slurm: setup
	@command -v sbatch > /dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null \
	  && apt-get update -qq && apt-get install -qq -y --no-install-recommends slurm-wlm; } \
	  || echo "Slurm is not installed: sudo apt-get install slurm-wlm"
	$(RUN) -m pytest -q tests/slurm $(if $(SLOW),,-m "not slow")

AXE := build/axe/package/axe.min.js
$(AXE):
	@mkdir -p build/axe && cd build/axe && npm pack --silent axe-core@4.14.1 > /dev/null && tar xzf axe-core-*.tgz

test-browser: setup $(AXE)
	@command -v chromium > /dev/null || { echo "a browser is missing: sudo apt-get install chromium"; exit 1; }
	AXE=$(CURDIR)/$(AXE) $(RUN) -m pytest -q tests/report/test_in_a_browser.py

# Old versions warn of what newer ones have mended: here that is no error.
test-lowest:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v in ((3, 11), (3, 12)) else "some of the oldest versions are for Python 3.11 and 3.12 only; choose one: make PYTHON=python3.12 ...")'
	@$(MAKE) --no-print-directory setup VENV=.venv-lowest PINNED=constraints-lowest.txt
	SCREENS=ignore .venv-lowest/bin/python -m pytest -q -n 2 --dist worksteal -m "not slow" -W default --ignore=tests/slurm

ROOM    ?= optim
MUTANTS ?= 40
mutants: setup
	@test -x .venv-mutants/bin/cosmic-ray || { $(PYTHON) -m venv .venv-mutants && .venv-mutants/bin/pip install --quiet --disable-pip-version-check cosmic-ray==8.7.0; }
	@.venv-mutants/bin/python tests/mutants.py $(ROOM) --number $(MUTANTS) --python $(RUN)

DOCS := .venv-docs
$(DOCS)/.installed: docs/site/requirements.txt
	@$(PYTHON) -m venv $(DOCS)
	@$(DOCS)/bin/pip install --quiet --disable-pip-version-check --requirement docs/site/requirements.txt
	@touch $@

docs: $(DOCS)/.installed
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --quiet
	@echo "The site is in build/site; to look at it while you write: $(DOCS)/bin/mkdocs serve"

clean:
	rm -rf $(VENV) .venv-lowest .venv-mutants $(DOCS) .pytest_cache .ruff_cache .mypy_cache build *.egg-info
