# One verb for each thing that people do; continuous integration calls the same ones.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Debian may ship venv without ensurepip: the environment is made without pip, and filled from outside.
PIP := $(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check
INSTALL := $(PIP) install --no-cache-dir --constraint constraints.txt
# VessMAP, where it was unpacked (see docs/training-data.md); make train also runs without it.
VESSMAP ?= $(firstword $(wildcard data/vessmap ../shared/data/vessmap))
RECIPE ?= training/recipes/angiometry.toml

.PHONY: help run install docs figures test test-slow check format bench train image clean

help:  ## Show these lines
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(BIN)/python:
	$(PYTHON) -m venv --without-pip $(VENV)

$(VENV)/.serving: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable .
	touch $@

$(VENV)/.everything: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable '.[train,dev]'
	touch $(VENV)/.serving $@

run: $(VENV)/.serving  ## Start the service with the shipped model on 127.0.0.1:8000
	$(BIN)/angiometry serve

install: $(VENV)/.everything  ## Install what training and the tests need, too (7 GB on the disk)

docs: $(VENV)/.everything  ## Put the real answers into README and OpenAPI, and draw the pictures
	$(BIN)/python docs/refresh.py
	$(BIN)/python -m docs.pictures
	$(BIN)/python -m docs.section_pictures
	$(BIN)/python -m docs.quality_pictures
	$(BIN)/python -m docs.coverage
	$(BIN)/python -m docs.proof

figures: $(VENV)/.everything  ## Measure anew what the documents say of another bundle (an hour; FOLDER holds the real images)
	$(MAKE) docs
	for script in empty_sections open_lumens failures turns strange_sections evaluation_page; do $(BIN)/python -m docs.$$script || exit; done
	for script in real_fields real_cells; do $(BIN)/python -m docs.$$script $(or $(FOLDER),$(error give FOLDER=, where the real images lie)) || exit; done
	for script in learning_curve unseen_sections; do $(BIN)/python -m docs.$$script || exit; done  # the last writes the card

test: $(VENV)/.everything  ## Run the tests
	$(BIN)/python -m pytest

test-slow: $(VENV)/.everything  ## Run the tests that take minutes
	$(BIN)/python -m pytest -m slow

check: test  ## The tests, then lint, format, types, and the arrows between packages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.everything  ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.everything  ## Time what is timed, as ratios in one run
	$(BIN)/python -m pytest -m benchmark -s

train: $(VENV)/.everything  ## Train from random weights on the data found, or on synthetic sections
	$(BIN)/angiometry train $(RECIPE) $(if $(VESSMAP),--vessmap $(VESSMAP)) $(TRAIN_FLAGS)

image:  ## Build the container image
	docker build --tag angiometry .

clean:  ## Remove the environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache *.egg-info
