# make demo   learn a person from a drawn video, then show them turning and walking: outputs/demo/index.html
# make demo-volanim   learn to move heads from their videos alone: outputs/demo-volanim/index.html
# make check  style, types and the fast tests: what to run while working
# make test   all tests
# make docs   the documentation site: site/index.html
# make lint   style, format, types and which way imports run
# Each creates .venv and installs the pinned set of packages first, once.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# torch's idle OpenMP threads otherwise spin, and take the cores from numba's: several times slower on few cores.
export OMP_WAIT_POLICY ?= passive
export GOMP_SPINCOUNT ?= 0

# Tests run side by side, whole files at a time: what a file prepares once is prepared once.
WORKERS ?= logical
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: install demo demo-volanim check test lint docs clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; (3, 10) <= v[:2] <= (3, 12) or sys.exit("Python %d.%d found, 3.10 to 3.12 needed: make PYTHON=python3.11 ..." % v[:2])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing nerfstudio-avatars and its pinned packages into $(VENV) (minutes the first time)"
	@# viser requires pyliblzfse, which PyPI has as C source only; its placeholder spares the compiler.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check packaging/pyliblzfse
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,docs,faces,heic,perceptual,slurm]"
	@touch $@

demo: $(STAMP)
	$(BIN)/ns-avatar demo --output outputs/demo

demo-volanim: $(STAMP)
	$(BIN)/ns-avatar demo-volanim --output outputs/demo-volanim

check: lint
	$(PYTEST) -m "not slow"

test: $(STAMP)
	$(PYTEST) --cov --cov-branch --cov-report=term

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "Open site/index.html; with search: $(BIN)/python -m http.server --directory site"

clean:
	rm -rf $(VENV) outputs site .pytest_cache .mypy_cache .ruff_cache .coverage
