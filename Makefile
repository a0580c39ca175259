# The two commands of the README, and the checks that they rest on. Everything runs in $(VENV), made by ci/setup.
VENV ?= .venv
PYTHON ?= python3
PROFILE ?= cpu
SUITES ?= suites
JOBS ?= 2
RUN := $(VENV)/bin/python -m

.PHONY: suite test coverage check docs types layers baseline clean

suite: $(VENV)/ready  ## measure and judge the product's own suites
	$(RUN) pytest $(SUITES) --gpu-profile=$(PROFILE) $(ARGS)

test: $(VENV)/ready  ## the plugin's own tests
	$(RUN) pytest tests -n $(JOBS) --dist worksteal $(ARGS)

coverage: $(VENV)/ready  ## branches below layer 8 that the tests take: at least 95 in 100
	$(RUN) coverage erase
	$(RUN) coverage run -p -m pytest tests $(ARGS)
	$(RUN) coverage combine --quiet
	$(RUN) coverage report

check: $(VENV)/ready  ## style, types, layers
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(VENV)/bin/lint-imports

docs: $(VENV)/ready  ## the site, warnings are errors; into .gpuperf/site
	NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --strict --quiet --site-dir .gpuperf/site

baseline: $(VENV)/ready  ## measure pending baselines in five fresh processes per case; then: gpuperf review
	$(RUN) pytest $(SUITES) --gpu-profile=$(PROFILE) --gpu-update=all --gpu-processes=5 $(ARGS)

$(VENV)/ready: ci/setup ci/requirements.lock pyproject.toml
	sh ci/setup "$(PYTHON)" "$(VENV)"

clean:
	rm -rf $(VENV) .gpuperf
