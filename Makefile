# Each target works alone on a machine that has only python3 and git: it makes .venv, installs, runs.
# A second run installs nothing.
PYTHON ?= python3
RUN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help install demo showcase gain photos test test-slow lint style types wheel bench overhead docs evidence faults endure

help:  ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: .venv/installed  ## make .venv and install the package into it (about 6 GB, once)

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "diffcore-hf needs Python 3.11 or newer; name one with PYTHON=")'
	$(PYTHON) -m venv .venv
	$(RUN)/pip install --quiet --progress-bar off --constraint constraints.txt --editable '.[dev]'
	@touch $@

.venv/photos-installed: .venv/installed
	$(RUN)/pip install --quiet --progress-bar off --constraint constraints.txt --editable '.[photos]'
	@touch $@

demo: install  ## render the miniature birds and augment them into out/miniature (under 3 minutes on a laptop)
	test -d out/birds || $(RUN)/diffcore-hf miniature out/birds
	HF_HUB_OFFLINE=1 $(RUN)/diffcore-hf augment miniature

showcase: demo  ## write the pictures of the README and hub_cards/example_card.md from the demo
	$(RUN)/diffcore-hf preview out/miniature --mixed
	cp out/miniature/assets/*.png out/miniature/.diffcore/preview/mixed.png docs/assets/
	sed 's#](assets/#](../docs/assets/#' out/miniature/README.md > hub_cards/example_card.md

gain: install  ## measure on out/miniature whether generated images help, with and without mixing (after make demo)
	HF_HUB_OFFLINE=1 $(RUN)/accelerate launch --quiet --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
		recipes/train.py --config miniature-train --compare plain,genaug,mix --seeds 0,1,2 --output out/train/gain

photos: $(if $(DATA),.venv/photos-installed)  ## measure the gain from perfect counterparts, with and without mixing, on photographs in DATA=DIR (under 15 minutes)
	@$(if $(DATA),HF_HUB_OFFLINE=1 $(RUN)/python -m benchmarks.photo_gain "$(DATA)",echo "Give a folder with one sub-folder of photographs for each class: make photos DATA=DIR. It was measured on the Clothing dataset (subset) of A. Grigorev (CC0 1.0)")

test: install  ## run the default tests, one process for each core (about 8 minutes on two cores)
	HF_HUB_OFFLINE=1 $(RUN)/python -m pytest -q -n auto --dist worksteal

test-slow: install  ## run the tests that take minutes or measure time (on an idle machine)
	HF_HUB_OFFLINE=1 $(RUN)/python -m pytest -q -m slow

lint: style types  ## check style, common errors, imports between packages, and types

style: install
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	PYTHONPATH=src $(RUN)/lint-imports

types: install  ## check only the types (mypy)
	$(RUN)/mypy

wheel: install  ## build the wheel, install it into a fresh environment, and test it there
	$(RUN)/python -m testing.wheel_check

faults: install  ## test pushes to a local server that fails in many ways, and write docs/reliability.md (half an hour)
	$(RUN)/python -m benchmarks.faults --write docs/reliability.md

endure: install  ## kill workers of runs at 400 random moments, and write docs/reliability.md (about 20 minutes; continues after a stop)
	$(RUN)/python -m benchmarks.endurance --write docs/reliability.md

evidence: install $(if $(PHOTOS),.venv/photos-installed)  ## measure the effects of filter, context, guidance and mixing, and write docs/results.md (hours; LIST=1 lists the measurements, PHOTOS=DIR adds photographs)
	$(RUN)/python -m benchmarks.evidence $(if $(PHOTOS),--photos "$(PHOTOS)") $(if $(LIST),--list)
	$(if $(LIST),,$(RUN)/python -m benchmarks.evidence --pack --page)

bench: install  ## measure time and memory, and write docs/performance.md (about 20 minutes on an idle machine)
	for part in demo source facts large_runs workers mixing loading publishing; do $(RUN)/python -m benchmarks.$$part --write docs/performance.md || exit 1; done

overhead: install  ## measure what each mixer costs a training step, and write docs/performance.md (hours; OPTIONS="--device cuda")
	$(RUN)/python -m benchmarks.overhead $(OPTIONS) --write docs/performance.md

docs: install  ## build the documentation site in out/site, and check every link
	$(RUN)/python docs/_build/check_links.py
	NO_MKDOCS_2_WARNING=1 $(RUN)/mkdocs build --quiet
