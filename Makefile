# Each target makes what it needs. PYTHON: any Python from 3.11 on.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check functions offline format soak clean

demo:            ## the main job, on a scratch folder
	@$(PYTHON) -m convex_memory demo

test: .venv/dev  ## every test
	$(BIN)/python -m pytest -n auto --dist loadfile

check: .venv/dev ## what CI checks beside the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

functions:       ## the TypeScript half: types, lint, generated code, tests (Node 20+)
	npm ci --ignore-scripts --silent
	npm run --silent functions:check
	npm run --silent functions:test

offline: .venv/dev ## proof: installed anew, without network, with an empty home (Linux)
	$(BIN)/python -m tests.packaging.offline

format: .venv/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

soak: .venv/dev  ## slow runs that look for rare failures
	$(BIN)/python -m pytest -m soak

.venv/dev: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv node_modules dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
