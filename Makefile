# bnn_hvd: the set-up, the first run and the tests.  `make help` lists the goals.
#
# The environment is built in stages, each with a stamp that is written when the stage is complete:
#   .chosen   (which TensorFlow, which MPI)
#   .built    the locked packages (from nothing; stale when a lock file's content or a choice changes)
#   .horovod  Horovod, built from source and checked
#   .package  this package, editable

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV ?= .venv
PYTHON ?= python3.11
RUN := runs/quickstart

# Nothing from outside may leak into the environment: an activated .venv, a module's PYTHONPATH.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV
export PYTHONNOUSERSITE := 1
OUTSIDE := $(shell tr : '\n' <<< "$$PATH" | grep -vxF -e "$(CURDIR)/$(VENV)/bin" -e "$(realpath $(VENV)/bin)" | paste -sd :)
export PATH := $(OUTSIDE)

# Two choices on make's command line, which the environment keeps until they are given again:
#   GPU=1                 TensorFlow with CUDA, Horovod with NCCL; GPU=0 goes back
#   MPICXX=/path/mpicxx   the MPI to build against (default: mpicxx on PATH); MPICXX=wheel: Open MPI as a package
CHOSEN := $(shell cat $(VENV)/.chosen 2>/dev/null)
GPU := $(if $(filter gpu,$(word 1,$(CHOSEN))),1,0)
MPICXX := $(or $(word 2,$(CHOSEN)),$(shell PATH="$(OUTSIDE)" command -v mpicxx),wheel)
DEVICE := $(if $(filter-out 0,$(GPU)),gpu,cpu)
MPI := $(if $(filter wheel,$(MPICXX)),wheel,site)

LOCKS := $(patsubst %,requirements/%.lock,common tensorflow-$(DEVICE) mpi-$(MPI) horovod)
WANTED := $(DEVICE) $(MPICXX) $(firstword $(shell cat $(LOCKS) | cksum))

PIP := python -m pip install --quiet --disable-pip-version-check --no-deps
FROM_SOURCE := $(PIP) --require-hashes --no-build-isolation --no-binary :all: --no-cache-dir --ignore-installed
FAIL = { echo "make: $(1)" >&2; exit 1; }
# Horovod's build cannot take a path with a space: there, .venv is a link to a folder in CACHE.
CACHE = $${XDG_CACHE_HOME:-$$HOME/.cache}/bnn_hvd
ACTIVATE = PATH="$$(cd $(VENV)/bin && pwd -P):$(if $(filter site,$(MPI)),$(dir $(MPICXX)):)$$PATH"

HOROVOD_PARTS := TensorFlow MPI Gloo
HOROVOD_OPTIONS = HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 \
  HOROVOD_WITH_MPI=1 HOROVOD_WITH_GLOO=1 HOROVOD_CPU_OPERATIONS=MPI HOROVOD_CMAKE="$$(readlink -f $(VENV))/bin/cmake"
ifeq ($(DEVICE),gpu)
# nvcc of CUDA 12 comes from PATH or HOROVOD_CUDA_HOME; NCCL from HOROVOD_NCCL_HOME, else the one TensorFlow uses.
HOROVOD_PARTS += NCCL
NVIDIA_NCCL := lib/python3.11/site-packages/nvidia/nccl
HOROVOD_OPTIONS += HOROVOD_GPU_OPERATIONS=NCCL HOROVOD_NCCL_LINK=SHARED \
  HOROVOD_NCCL_HOME="$${HOROVOD_NCCL_HOME:-$$(readlink -f $(VENV))/$(NVIDIA_NCCL)}"
endif

.PHONY: help install run test test-fast test-schedulers lint bench clean distclean FORCE

help: ## list the goals
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo "Choices: GPU=1 (CUDA, NCCL), MPICXX=/path/to/mpicxx or wheel, PYTHON=python3.11, VENV=.venv"

install: $(VENV)/.package ## build the environment in .venv: locked packages, Horovod with MPI and Gloo, this package

run: export TF_CPP_MIN_LOG_LEVEL ?= 2
run: install ## train on two ranks on the embedded data, predict, plot; goes on, or does nothing, when run again
	$(ACTIVATE) horovodrun -np 2 python -m bnn_hvd train --flagfile=configs/quickstart.cfg
	$(ACTIVATE) python -m bnn_hvd predict --run=$(RUN)
	$(ACTIVATE) python -m bnn_hvd plot --run=$(RUN)
	@echo "Look at $(RUN)/plots/ (figures), $(RUN)/summary.json and $(RUN)/uncertainty.json."

test: install ## run the whole test suite, two-rank tests included; ARGS="-k name" for a part
	$(ACTIVATE) python -m pytest $(ARGS)

test-fast: install ## run the tests that need one process only
	$(ACTIVATE) python -m pytest -m "not parallel" $(ARGS)

test-schedulers: install ## run the tests that need a real Slurm or Balsam; they skip, with the reason, where there is none
	$(ACTIVATE) python -m pytest -m schedulers tests/schedulers $(ARGS)

lint: install ## ruff (rules and format) and mypy
	$(ACTIVATE) ruff check .
	$(ACTIVATE) ruff format --check .
	$(ACTIVATE) mypy

bench: install ## run a benchmark: PART=name
	$(ACTIVATE) python -m benchmarks $(PART)

clean: ## remove runs/ and all caches; the environment stays
	rm -rf runs benchmarks/out build *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

distclean: clean ## remove the environment, too
	@[ ! -e $(VENV) ] || [ -e $(VENV)/.chosen ] || $(call FAIL,$(VENV) was not made by this Makefile: remove it yourself)
	rm -rf "$$(readlink -f $(VENV))" $(VENV)

# --- the environment ------------------------------------------------------------------------------

ifneq ($(WANTED),$(shell cat $(VENV)/.built 2>/dev/null))
$(VENV)/.built: FORCE
endif

$(VENV)/.built:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
	  || $(call FAIL,$(PYTHON) is not Python 3.11: make PYTHON=/path/to/python3.11)
	@[ $(MPI) = wheel ] || [ -x "$(MPICXX)" ] || $(call FAIL,$(MPICXX) is missing: load its module or give MPICXX=)
ifeq ($(DEVICE),gpu)
	@[ -x "$${HOROVOD_CUDA_HOME:-}/bin/nvcc" ] || command -v nvcc > /dev/null \
	  || $(call FAIL,GPU=1 needs nvcc of CUDA 12: load its module or set HOROVOD_CUDA_HOME)
endif
	@[ ! -e $(VENV) ] || [ -e $(VENV)/.chosen ] \
	  || $(call FAIL,$(VENV) was not made by this Makefile: move it away or give VENV=other)
	@echo "== 1/3 packages into $(VENV) (TensorFlow: $(DEVICE); MPI: $(MPICXX))"
	@case "$$PWD" in \
	  *' '*) [ -e $(VENV) ] || { mkdir -p "$(CACHE)"; ln -sfn "$$(mktemp -d "$(CACHE)/venv.XXXXXX")" $(VENV); } ;; \
	  *) mkdir -p $(VENV) ;; \
	esac
	@echo "$(DEVICE) $(MPICXX)" > $(VENV)/.chosen
	@find -H $(VENV) -mindepth 1 -maxdepth 1 ! -name .chosen -exec rm -rf {} +
	$(PYTHON) -m venv "$$(readlink -f $(VENV))"
	$(ACTIVATE) $(PIP) --require-hashes --only-binary :all: \
	  $(patsubst %,-r %,$(filter-out %/mpi-site.lock %/horovod.lock,$(LOCKS)))
ifeq ($(DEVICE),gpu)
	ln -sf libnccl.so.2 $(VENV)/$(NVIDIA_NCCL)/lib/libnccl.so
endif
	@echo "$(WANTED)" > $@

# MAKEFLAGS: this make's own flags are not for the makes inside.
$(VENV)/.horovod: $(VENV)/.built
	@echo "== 2/3 Horovod from source, with $(HOROVOD_PARTS) (a few minutes)"
ifeq ($(MPI),site)
	$(ACTIVATE) MPI4PY_BUILD_MPICC="$(dir $(MPICXX))mpicc" $(FROM_SOURCE) -r requirements/mpi-site.lock
endif
	$(ACTIVATE) MAKEFLAGS=-j$$(nproc) $(HOROVOD_OPTIONS) \
	  $(FROM_SOURCE) -r requirements/horovod.lock
	@$(ACTIVATE) horovodrun --check-build > $(VENV)/check-build.txt 2> $(VENV)/check-build.err || true
	@cat $(VENV)/check-build.txt
	@for part in $(HOROVOD_PARTS); do grep -qF "[X] $$part" $(VENV)/check-build.txt \
	  || { cat $(VENV)/check-build.err >&2; $(call FAIL,Horovod was built without $$part); }; done
	@touch $@

$(VENV)/.package: $(VENV)/.horovod pyproject.toml bnn_hvd/__init__.py
	@echo "== 3/3 this package"
	$(ACTIVATE) $(PIP) --no-build-isolation --editable .
	@touch $@
