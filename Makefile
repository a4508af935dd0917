# make demo: a tour on real data.  make test: everything that has to hold.  Both need Python 3.11 or later, nothing else.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test quick matrix browser pictures check coverage docs bench clean

demo: .venv/demo
	$(BIN)/python examples/tour.py

test: check browser
	$(BIN)/python -m pytest -n auto

# In memory and on SQLite, without keys: about a minute.
quick: .venv/test browser
	$(BIN)/python -m pytest -n auto -q -m 'not server and not encrypted and not slow'

# The wheel on each Python that is found, and on pandas 2. TOX="-e 3.12,3.13 -- tests -m 'not slow'" selects.
matrix: .venv/dev
	$(BIN)/python -m tox run $(TOX)

# Some tests need a Chromium. Where there is none, this installs it, or says what to do.
browser: .venv/test
	$(BIN)/python -m tests.support.browser

# Of the pages in the browser, for README and docs.
pictures: browser
	RSTORE_TEST_PICTURES=docs/images $(BIN)/python -m pytest -q tests/web/test_browser_pictures.py

check: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/squawk rstore/adapters/postgresql/*.sql

# Apart from the tests, since on most Pythons the tracer costs as much again as the tests themselves.
coverage: .venv/test browser
	$(BIN)/python -m pytest -n auto --cov

# As a site: open site/index.html.
docs: .venv/test
	$(BIN)/python -m zensical build --strict

bench: .venv/test
	$(BIN)/python -m benchmarks.core
	$(BIN)/python -m benchmarks.keys
	$(BIN)/python -m benchmarks.decisions
	$(BIN)/python -m benchmarks.servers
	$(BIN)/python -m benchmarks.frames
	$(BIN)/python -m benchmarks.series
	$(BIN)/python -m benchmarks.sql
	$(BIN)/python -m benchmarks.growth keys 100000 1000000

.venv/demo .venv/test .venv/dev: .venv/%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$*]'
	touch $@

clean:
	rm -rf .venv .tox site .cache .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
