# `make help` lists what there is. Everything sets itself up in .venv (Python >= 3.10, pip).
#   make figures                     fetches accuracies it lacks (OFFLINE=1: nothing); else CIFAR-10 alone
#   make figures NB201=PATH          your ground truth: .pth, NATS folder, CSV, or analog-nasbench
#   make figures TORCH_INDEX=URL     pip index for another PyTorch build (CPU, CUDA)
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help data figures report test lab site scores check-scores searches bench lint format package clean
PYTHON ?= python3
TORCH := "torch>=2.13,<2.14" "torchvision>=0.28,<0.29"
PY := .venv/bin/python
READY := .venv/.ready
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check --no-compile
unexport PYTHONDONTWRITEBYTECODE
$(if $(NB201),$(if $(filter analog-nasbench,$(NB201))$(wildcard $(NB201)),,$(error NB201=$(NB201) points nowhere: give the NAS-Bench-201 .pth, the NATS-Bench folder, an exported CSV or analog-nasbench, or leave NB201 out for the fetched ground truth (no spaces in the path))))
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 15

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "azlib needs Python >= 3.10: make PYTHON=python3.12 ..."; exit 1; }
	@echo 'setting up .venv, once' && $(PYTHON) -m venv .venv
	@$(INSTALL) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)  # first: not those for GPUs
	@$(INSTALL) "uv>=0.5,<1" && $(PY) -m uv pip install --quiet --python $(PY) -e ".[dev]" || \
	  $(INSTALL) -e ".[dev]"  # uv is five times faster, but does not read pip's configuration
	@touch $@

data: $(READY) ; $(PY) -m azlib data  ## fetch accuracies of benchmarks (5 MB), with their licences
figures: $(READY) ## run the notebooks, write figures/
	@$(PY) -m azlib figures $(if $(NB201),--source "$(NB201)")

report: $(READY) ; @$(PY) -m azlib report  ## write REPRODUCTION.md: published numbers beside ours

test: $(READY) ; $(PY) -m pytest  ## run the tests

lab: $(READY) ; .venv/bin/jupyter lab notebooks  ## open JupyterLab on the notebooks

site: $(READY) ; $(PY) -m docs.builder  ## the lessons, exhibits and guides as pages in .build/site

scores: $(READY) ; $(PY) -m azlib scores  ## recompute what data/scores lacks (hours; continues)

searches: $(READY) ; $(PY) -m azlib searches  ## repeat what data/searches lacks (hours; continues)

check-scores: $(READY) ## recompute a random handful of the committed scores
	$(PY) -m azlib check-scores data/scores/*.parquet

bench: $(READY) ; cd tests && ../$(PY) bench.py $(if $(ONLY),--only $(ONLY)) $(if $(AGAINST),--against $(AGAINST))  ## measure speed and memory, write figures/bench.csv

lint: $(READY) ## check format, style and types
	.venv/bin/ruff format --check . && .venv/bin/ruff check . && .venv/bin/mypy

format: $(READY) ## format the code and clear the notebooks' outputs
	.venv/bin/ruff format . && .venv/bin/ruff check --fix .
	.venv/bin/jupyter nbconvert --clear-output --inplace notebooks/*.ipynb

package: $(READY) ## build the wheel and the sdist in dist/ and check them
	$(PY) -m build --no-isolation --outdir dist && .venv/bin/twine check dist/*

clean: ## remove .venv and what was built (what is committed stays)
	rm -rf .venv .build dist figures/analog-nasbench .pytest_cache .ruff_cache .mypy_cache .hypothesis
