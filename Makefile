# bnn_hvd: the set-up, the first run and the tests.  `make help` lists the goals.

.DEFAULT_GOAL := help

VENV ?= .venv
PYTHON ?= python3.11
RUN := runs/quickstart

# Empty unless given on make's command line: whatever else calls itself so in the shell's environment is not meant.
GPU :=
MPICXX :=
EXTRAS :=
export VENV PYTHON GPU MPICXX EXTRAS

RUNS := 100
PRIVATE_MOUNTS := $(if $(filter 0,$(shell id -u)),unshare --mount,)

INSTALLER := scripts/install.sh
IN_VENV := $(INSTALLER) run

.PHONY: help install run test test-fast test-schedulers test-hosts test-zoo soak lint claims docs bench clean distclean

help: ## list the goals
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo "Choices: GPU=1 (CUDA, NCCL), MPICXX=/path/to/mpicxx or wheel, EXTRAS=gw (LALSuite), PYTHON=python3.11, VENV=.venv"

install: ## build the environment in .venv: locked packages, Horovod with MPI and Gloo, this package
	@$(INSTALLER) build

run: export TF_CPP_MIN_LOG_LEVEL ?= 2
run: install ## train on two ranks on the embedded data, predict, plot; goes on, or does nothing, when run again
	$(IN_VENV) horovodrun -np 2 python -m bnn_hvd train --flagfile=configs/quickstart.cfg
	$(IN_VENV) python -m bnn_hvd predict --run=$(RUN)
	$(IN_VENV) python -m bnn_hvd plot --run=$(RUN)
	@echo "Look at $(RUN)/plots/ (figures), $(RUN)/summary.json and $(RUN)/uncertainty.json."

test: install ## run the whole test suite, two-rank tests included; ARGS="-k name" for a part
	$(IN_VENV) python -m pytest $(ARGS)

test-fast: install ## run the tests that need one process and little time
	$(IN_VENV) python -m pytest -m "not parallel and not slow" $(ARGS)

test-schedulers: install ## run the tests that need a real Slurm or Balsam; they skip, with the reason, where there is none
	$(IN_VENV) python -m pytest -m schedulers tests/schedulers $(ARGS)

test-hosts: install ## run the tests of jobs on several hosts, made of network namespaces; they skip, with the reason, without root
	$(IN_VENV) python -m pytest -m hosts tests/hosts $(ARGS)

test-zoo: install ## train, resume, predict and export every Keras model of tests/models/keras_zoo.py, on one rank and two
	$(IN_VENV) python -m pytest -m zoo tests/zoo $(ARGS)

soak: install ## kill training at random moments, 100 times (40 minutes), and compare; as root, disks fill up, too
	$(IN_VENV) $(PRIVATE_MOUNTS) python tests/soak.py --runs=$(RUNS) --report=runs/soak.md $(ARGS)

lint: install ## ruff (rules and format) and mypy
	$(IN_VENV) ruff check .
	$(IN_VENV) ruff format --check .
	$(IN_VENV) mypy

claims: install ## compare the measured numbers of README and docs with the kept results that they name
	$(IN_VENV) python scripts/check_claims.py

docs: ## build the site of the documentation in build/site; a dead link is an error
	@$(INSTALLER) docs

bench: install ## run a benchmark: PART=name
	$(IN_VENV) python -m benchmarks $(PART)

clean: ## remove runs/ and all caches; the environment stays
	rm -rf runs benchmarks/out build *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -path "./$(VENV)" -prune -o -name __pycache__ -type d -exec rm -rf {} +

distclean: clean ## remove the environment, too
	@$(INSTALLER) remove
