# Needs make, git and Python 3.11, 3.12 or 3.13 (if python3 is another version: make PYTHON=python3.12 ...).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
# pip installs into .venv, whatever pip.conf and the environment say.
export PIP_USER := 0
unexport PIP_TARGET PIP_PREFIX PIP_ROOT

PROFILES := cifar demo photographs quick rehearsal slurm
# Rooms whose tests train nothing, draw nothing and start no workflow.
UNITS := $(addprefix tests/,config contract cost grid networks paper results verdicts workflow/test_plan.py workflow/test_progress.py)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help links demo check test testcluster fuzz lint dryrun docs install lock clean

help: ## List the targets (the default)
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

demo: install ## Install, then train small networks on this machine, draw every figure and write the report (runs/demo)
	$(BIN)/snakemake --profile demo figures/all report

check: install ## Check style and types, and run the unit and contract tests: the command for daily work
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not workflow and not slurm and not long" $(UNITS)

test: install ## Install, then run the tests
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not long"

testcluster: install ## Run the tests against a faulty SLURM (as root, minutes)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m long

fuzz: install ## Damage configurations, command lines, result files and archives for 20 minutes; stop at a traceback or a hang
	$(BIN)/python -m tests.fuzz.fuzz --cases 1000
	$(BIN)/python -m tests.config.fuzz --seed $$(date +%s)

lint: install ## Check style and types of the package and of the workflow
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint
	$(BIN)/hadolint containers/Dockerfile

dryrun: install ## Count the jobs of the paper's workflow without running any
	$(BIN)/snakemake --quiet host rules reason --dry-run figures/all

docs: install ## Build the documentation in site/; a broken link is an error
	$(BIN)/mkdocs build --quiet --strict

install: links $(VENV)/.installed ## Create .venv from envs/requirements.txt (again only after it changed)

# Snakemake finds profiles through links.  A zip, or git with core.symlinks=false, turns them into text files.
links:
	@for name in $(PROFILES); do [ -e $$name/config.yaml ] || { \
	    echo "error: '$$name' must be a link to workflow/profiles/$$name; make it: ln -sfn workflow/profiles/$$name $$name" >&2; exit 1; }; done

# The project itself: pyproject.toml has its entry points.
$(VENV)/.installed: $(VENV)/.locked pyproject.toml
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

# Its dependencies. The lock is also the build constraint, so that packages that come
# as source are built with the lock's setuptools. They are compiled once, now: a cell of
# the demo trains for two seconds, and importing uncompiled torch takes two more.
$(VENV)/.locked: envs/requirements.txt $(UV)
	$(UV) pip install --python $(BIN)/python --require-hashes --compile-bytecode \
	    --build-constraints envs/requirements.txt --requirements envs/requirements.txt
	@touch $@

$(UV): envs/bootstrap.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || \
	    { echo "error: '$(PYTHON)' is not Python 3.11, 3.12 or 3.13; name one with: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "error: '$(PYTHON)' cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement envs/bootstrap.txt
	@[ -x $@ ] || { echo "error: pip did not install into $(VENV): pip.conf sets target or prefix; ignore it with: make PIP_CONFIG_FILE=/dev/null $(MAKECMDGOALS)" >&2; exit 1; }
	@touch $@

COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
    --no-emit-index-url --custom-compile-command "make lock" $(UPGRADE)

lock: $(UV) ## Compile envs/*.txt again (for the newest versions: make lock UPGRADE=--upgrade)
	$(COMPILE) --output-file envs/bootstrap.txt envs/bootstrap.in
	$(COMPILE) --output-file envs/requirements.txt --extra dev pyproject.toml envs/requirements.in

clean: ## Remove the demo's run and the caches; results/, figures/ and .venv stay
	rm -rf runs/demo build .pytest_cache .mypy_cache .ruff_cache
	find src tests workflow -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
