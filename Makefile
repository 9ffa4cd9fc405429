# `make help` lists what there is. Everything sets itself up in .venv (Python >= 3.10, pip).
#
#   make figures                                  embedded ground truth (CIFAR-10)
#   make figures NB201=PATH                       official ground truth: .pth, NATS folder or CSV
#   make figures TORCH_INDEX=URL                  pip index for another PyTorch build (CPU, CUDA)

SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
NB201 ?=
TORCH_INDEX ?=
TORCH := torch>=2.13,<2.14
PROXIES := az,trainability_formula,smallest_share,identity_blocks
VIT_PROXIES := expressivity,trainability,complexity
INITS := kaiming_norm_fanout kaiming_uni_fanin kaiming_uni_fanout \
  xavier_norm xavier_uni plain_norm plain_uni
SEEDS ?= 2-5
WORKERS ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)

ifneq ($(NB201),)
  ifeq ($(wildcard $(NB201)),)
    $(error NB201=$(NB201) points nowhere: give the NAS-Bench-201 .pth, the NATS-Bench folder or an exported CSV, or leave NB201 out for the embedded ground truth (no spaces in the path))
  endif
  override NB201 := $(realpath $(wildcard $(NB201)))
endif

VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
SOURCE := $(if $(NB201),nas-bench-201,analog-nasbench)
BUILD := .build/$(SOURCE)
# $(call study,SPACE,BUDGET,COUNT,SEEDS): random structures scored at the setting $s, PIXELS:BATCH
study = $(PY) -m azlib sweep --space $(1) --budget $(2) --sample $(3) --seed $(4) --chunk 4 \
  --workers $(WORKERS) --resolution $${s%:*} --batch $${s\#*:} \
  --out data/scores/az_$(1)_$${s%:*}px_batch-$${s\#*:}.parquet
# $(call found,SPACE,BUDGET,SEED,SUFFIX): a search, its log and what it found
found = $(PY) -m azlib search --space $(1) --budget $(2) --seed $(3) \
  --out data/searches/$(1)_$(2)$(4)_seed$(3).parquet
# $(call baseline,FAMILY,SPACE,OPTIONS,PROXIES): the scores of one family of proxies
comma := ,
joined = $(subst $() $(),$(comma),$(strip $(1)))
baseline = $(PY) -m azlib sweep --space $(2) $(3) --proxies $(call joined,$(4)) --resolution 32 \
  --workers $(WORKERS) --out data/scores/$(1)_nasbench201_32px.parquet
# $(call varied,FAMILY,SUFFIX,OPTIONS,PROXIES,COUNT): with one setting changed, for notebook 11
varied = $(PY) -m azlib sweep --space nasbench201 --sample $(or $(5),500) --proxies $(call joined,$(4)) $(3) \
  --resolution 32 --workers $(WORKERS) --out data/scores/$(1)_nasbench201_32px_$(2).parquet

# Notebooks that compare with a ground truth have a parameter `source`; the others run once for all.
OF_TRUTH := $(sort $(shell grep -l '^ *"source = ' notebooks/*.ipynb))
OTHERS := $(filter-out $(OF_TRUTH),$(sort $(wildcard notebooks/*.ipynb)))
CODE := $(READY) environment.yml $(wildcard azlib/*.py azlib/*/*.py)
SCORES := $(wildcard data/scores/*.parquet)
NAS_SCORES := $(wildcard data/scores/*_nasbench201_*.parquet)
SEARCHES := $(wildcard data/searches/*)

OTHER_SCORES := $(filter-out $(NAS_SCORES) %_contenders.parquet,$(SCORES))

.PHONY: FORCE help figures test lab scores check-scores searches bench lint format clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 15

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "azlib needs Python >= 3.10: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(PY) -m pip install --quiet --index-url $(TORCH_INDEX) "$(TORCH)")
	$(PY) -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@

figures: $(OF_TRUTH:notebooks/%.ipynb=$(BUILD)/%.ipynb) $(OTHERS:notebooks/%.ipynb=.build/imagenet/%.ipynb) ## run the notebooks, write figures/
	@echo "figures/ is up to date ($(SOURCE))"

$(BUILD)/%.ipynb: notebooks/%.ipynb $(CODE) $(NAS_SCORES) $(wildcard figures/runtimes.csv) $(NB201) $(BUILD)/source
	@$(PY) -m azlib run $< $@ $(if $(NB201),-p source="$(NB201)")

.build/imagenet/%.ipynb: notebooks/%.ipynb $(CODE) $(OTHER_SCORES) $(SEARCHES)
	@$(PY) -m azlib run $< $@

$(BUILD)/source: FORCE  # another ground truth is another input, however old its file
	@mkdir -p $(BUILD); echo '$(NB201)' | cmp -s - $@ || echo '$(NB201)' > $@

test: $(READY) ## run the tests
	$(PY) -m pytest

lab: $(READY) ## open JupyterLab on the notebooks
	$(VENV)/bin/jupyter lab notebooks

scores: $(READY) ## recompute data/scores (hours; continues where it stopped)
	for px in 32 16; do \
	  $(PY) -m azlib sweep --resolution $$px --seed 1 --proxies $(PROXIES) \
	    --workers $(WORKERS) --out data/scores/az_nasbench201_$${px}px.parquet && \
	  $(PY) -m azlib sweep --resolution $$px --seed $(SEEDS) --unique --proxies $(PROXIES) \
	    --workers $(WORKERS) --out data/scores/az_nasbench201_$${px}px_unique.parquet || exit 1; \
	done
	$(PY) -m azlib sweep --eval --sample 500 --proxies $(PROXIES) --workers $(WORKERS) \
	  --out data/scores/az_nasbench201_32px_eval.parquet
	$(call baseline,graph,nasbench201,--unique --batch 2,live_macs live_layers live_paths \
	  effective_depth mean_depth shortest_path fewest_poolings sharp_depth mean_sharp_depth)
	$(call baseline,counts,nasbench201-full,--batch 2,params trainable_layers)
	$(call baseline,saliency,nasbench201,--unique,grad_norm synflow)
	$(call baseline,jacobian,nasbench201,--unique,jacov epe_nas)
	$(call baseline,patterns,nasbench201-full,,naswot)
	$(call baseline,masks,nasbench201,--sample 1000,snip fisher)
	$(call baseline,regions,nasbench201-full,--sample 1000,linear_regions)
	$(call baseline,zen,nasbench201-full,--sample 1000,zen)
	$(call baseline,zico,nasbench201,--sample 1000,zico)
	$(call baseline,vkdnw,nasbench201-full,--sample 1000,vkdnw_entropy vkdnw_entropy_exact)
	$(call baseline,ntk,nasbench201,--sample 1000 --batch 16,ntk)
	$(call baseline,gradsign,nasbench201,--sample 1000,gradsign gradsign_mean)
	$(call baseline,grasp,nasbench201,--sample 1000,grasp)
	for i in $(INITS); do $(call varied,az,init-$${i},--init $${i},az) || exit 1; done
	for b in 8 16 32; do $(call varied,az,batch-$${b},--batch $${b},az) || exit 1; done
	$(call varied,az,input-patches,--input patches,az)
	$(call varied,masks,input-gaussian,--images gaussian,snip fisher)
	$(call varied,jacobian,input-gaussian,--unique --images gaussian,jacov epe_nas)
	$(call varied,zico,input-gaussian,--images gaussian,zico)
	$(call varied,grasp,input-gaussian,--images gaussian,grasp,300)

searches: $(READY) ## repeat the ImageNet searches and the study of their preset (hours; continues)
	for s in 224:16 224:8 112:64 112:32 112:16 64:64 64:16 32:64 32:16; do \
	  $(call study,mobilenetv2,450M,200,2) || exit 1; done
	for s in 112:16 64:64; do $(call study,mobilenetv2-superblocks,450M,200,2) || exit 1; done
	for s in 224:8 224:2 112:8 112:4; do \
	  $(call study,autoformer-tiny,tf-tas,32,2) --proxies $(VIT_PROXIES) || exit 1; done
	s=224:64; $(call study,mobilenetv2,450M,200,1-2)
	s=224:64; $(call study,autoformer-tiny,tf-tas,32,1-2) --proxies $(VIT_PROXIES)
	for k in 123 124 125; do \
	  $(call found,mobilenetv2,450M,$${k}) && \
	  $(call found,mobilenetv2,450M,$${k},-random) --rule random --workers $(WORKERS) || exit 1; done
	for b in 600M 1000M; do $(call found,mobilenetv2,$${b},123) || exit 1; done
	for size in tiny small base; do \
	  $(call found,autoformer-$${size},tf-tas,123) --iterations 1000 --workers $(WORKERS) && \
	  $(call found,autoformer-$${size},default,123) --iterations 1000 --workers $(WORKERS) \
	    --reuse data/searches/autoformer-$${size}_tf-tas_seed123.parquet || exit 1; done

bench: $(READY) ## measure speed and memory, write figures/bench.csv
	cd tests && ../$(PY) bench.py

check-scores: $(READY) ## recompute a random handful of the committed scores
	$(PY) -m azlib check-scores $(SCORES)

lint: $(READY) ## check format and style
	$(VENV)/bin/ruff format --check . && $(VENV)/bin/ruff check .

format: $(READY) ## format the code and clear the notebooks' outputs
	$(VENV)/bin/ruff format . && $(VENV)/bin/ruff check --fix .
	$(VENV)/bin/jupyter nbconvert --clear-output --inplace notebooks/*.ipynb

clean: ## remove .venv and .build (figures/ and data/ stay)
	rm -rf $(VENV) .build .pytest_cache .ruff_cache .hypothesis
