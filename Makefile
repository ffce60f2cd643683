# Every entry is explained by `make help`. What has been built once needs no network and no pip again.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
JOBS := $(shell nproc)
FUZZ_SECONDS ?= 60
# Names of modules, comma-separated, for who works on a few: make build MODULES=cache,limiter
MODULES ?=

C_FILES := $(shell find cext -name '*.[ch]' -not -path 'cext/test/*' -not -path 'cext/fuzz/*')
CYTHON_FILES := $(shell find src -name '*.pyx' -o -name '*.px[di]')
STUBBED := $(shell find src/fastcore src/apps -name '*.pyi' | sed 's|^src/||; s|\.pyi$$||; s|/|.|g')

# The sanitized build lives beside the normal one: leaks are off because CPython frees little at exit, and its own
# allocator is replaced by malloc, or ASan would see one big block.
ASAN := LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libstdc++.so)" PYTHONMALLOC=malloc \
	ASAN_OPTIONS=detect_leaks=0 PYTHONPATH=build/asan/lib

.PHONY: help build run test lint check-c asan tsan refs fuzz bench annotate cover clean
.DEFAULT_GOAL := help

help: ## list what make can do
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | awk -F'\t' '{ printf "  make %-9s %s\n", $$1, $$2 }'

build: $(VENV)/bin/fastcore build/extensions.stamp ## make .venv, compile the extensions in place, leave .venv/bin/fastcore

run: build ## build, then start everything on this machine and say what to try; Ctrl-C stops it
	@exec $(VENV)/bin/fastcore up

test: build lint check-c ## every check there is: lint, types, stubs, C tests, Python tests
	@tools/system-packages test
	$(PY) -m pytest

lint: build ## ruff (lint and format), mypy --strict on src/, stubtest for every .pyi
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(if $(STUBBED),MYPYPATH=src $(PY) -m mypy.stubtest --allowlist tools/stubtest-allow --ignore-unused-allowlist $(STUBBED))

check-c: ## compile cext alone with -Wall -Wextra -Werror (gcc, and clang when it is there) and run cext/test
	@tools/system-packages build check
	$(MAKE) -C cext -j$(JOBS) check VARIANT=gcc
	$(MAKE) -C cext -j$(JOBS) check VARIANT=clang
	$(MAKE) -C cext -j$(JOBS) check VARIANT=unsafe

asan: build ## C tests and Python unit tests under the address and undefined-behaviour sanitizers
	$(MAKE) -C cext -j$(JOBS) check VARIANT=asan
	FASTCORE_SANITIZE=address,undefined $(PY) setup.py -q build -b build/asan --build-lib build/asan/lib
	$(ASAN) $(PY) -m pytest tests/unit

tsan: ## threaded C tests under the thread sanitizer
	@tools/system-packages build
	$(MAKE) -C cext -j$(JOBS) check VARIANT=tsan

refs: build ## operations done many times leave nothing: references counted by python3-dbg (LEAKS="http shm" for some)
	@tools/system-packages refs
	tools/refs $(LEAKS)

fuzz: ## build every fuzzer in cext/fuzz and run each for FUZZ_SECONDS (60); new finds stay under build/fuzz
	@tools/system-packages fuzz
	$(MAKE) -C cext -j$(JOBS) fuzzers
	$(MAKE) -C cext fuzz FUZZ_SECONDS=$(FUZZ_SECONDS)

bench: build ## measure against the peers; prints `what | ours | peer | ratio` (see perf/)
	@tools/system-packages bench
	$(PY) -m perf.run $(BENCH)

annotate: build ## Cython's annotated HTML beside each .pyx: yellow lines enter Python
	FASTCORE_ANNOTATE=1 $(PY) setup.py -q --name >/dev/null
	@ls src/fastcore/*.html

cover: build ## line coverage: coverage.py for Python, gcov over the C tests for cext
	$(PY) -m coverage run -m pytest tests/unit
	$(PY) -m coverage report --skip-covered
	$(MAKE) -C cext -j$(JOBS) check VARIANT=cover
	$(MAKE) -C cext cover-report

clean: ## remove what the build made; .venv stays, so building again needs no network
	rm -rf build dist src/*.egg-info
	find src \( -name '*.so' -o -name '*.html' -path '*/fastcore/*' \) -delete
	for pyx in $$(find src -name '*.pyx'); do rm -f $${pyx%.pyx}.c; done

# Requirements come from pyproject.toml alone: build system, run time, development.
$(VENV)/.requirements: pyproject.toml
	@tools/system-packages build
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fastcore needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 " + " ".join(sys.argv[1:]))' build
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb")); \
	    print(*project["build-system"]["requires"], *project["project"]["dependencies"], \
	          *project["project"]["optional-dependencies"]["dev"], sep="\n")' >$(VENV)/requirements.txt
	$(PY) -m pip install -q --disable-pip-version-check -r $(VENV)/requirements.txt
	touch $@

build/extensions.stamp: $(VENV)/.requirements setup.py $(C_FILES) $(CYTHON_FILES)
	@tools/system-packages build
	@mkdir -p build
	FASTCORE_MODULES=$(MODULES) $(PY) setup.py -q build_ext --inplace
	touch $@

# An editable install builds in a folder of its own, so it would compile everything once more: it is told not to.
$(VENV)/bin/fastcore: $(VENV)/.requirements pyproject.toml | build/extensions.stamp
	FASTCORE_MODULES=none $(PY) -m pip install -q --disable-pip-version-check --no-build-isolation --no-deps -e .
	touch $@
