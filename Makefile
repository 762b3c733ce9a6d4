# SPDX-License-Identifier: Apache-2.0
# Every target does its own set-up; `make help` lists them.

MODEL ?= models/digits.toml
IMAGES ?=
BUILD ?= build
ARGS ?=

VENV := .venv
PY := $(VENV)/bin/python
EDGEFERRY := $(VENV)/bin/edgeferry
OLD_RUNTIMES := .venv-tflite-2.5 .venv-tflite-2.7
WEB := targets/web

.DEFAULT_GOAL := help
.PHONY: help install setup-arm setup-gpu setup-old-runtimes setup-openvino test test-fast export-all parity report serve-browser bench bench-own load-test bench-coral bench-mac coverage docs lint format lock protocol clean

help: ## list what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

install: $(VENV)/installed .venv-tflite-2.14/installed $(WEB)/node_modules/installed ## set up everything this machine can have

setup-gpu: install ## put ONNX Runtime for NVIDIA GPUs in the place of the CPU's, with CUDA's libraries (2.5 GB)
	@[ "$$(uname -sm)" = "Linux x86_64" ] || { echo "edgeferry: ONNX Runtime for NVIDIA GPUs is for Linux on x86-64" >&2; exit 1; }
	@wheels=$$(mktemp -d) && trap 'rm -rf "$$wheels"' EXIT && pip="$(PY) -m pip --quiet --disable-pip-version-check" && \
	    $$pip download --no-deps --require-hashes --dest "$$wheels" -r requirements-gpu.lock && \
	    $$pip uninstall --yes onnxruntime && \
	    $$pip install --no-index --find-links "$$wheels" --no-deps --require-hashes -r requirements-gpu.lock

setup-old-runtimes: install $(OLD_RUNTIMES:=/installed) ## set up TF Lite 2.5 and 2.7, as boards have them

setup-openvino: install .venv-openvino/installed ## set up OpenVINO, its CPU runtime and the converter of its format (280 MB)

setup-arm: install ## set up emulated ARM processors: Coral's and Raspberry Pi's, phones', servers' (400 MB, no rights of root)
	@$(PY) -m edgeferry.targets.arm.setup

export-all: install ## export MODEL (a file or a name) to every format, check every artifact, print one table; IMAGES=photos/ writes its config
	@$(EDGEFERRY) export-all "$(MODEL)" $(if $(IMAGES),--images "$(IMAGES)") --build "$(BUILD)" $(ARGS)

parity: install ## check the artifacts of MODEL again
	@$(EDGEFERRY) check "$(MODEL)" --build "$(BUILD)" $(ARGS)

report: install ## print the last table of MODEL again
	@$(EDGEFERRY) report "$(MODEL)" --build "$(BUILD)" $(ARGS)

serve-browser: install ## open MODEL in a page on this machine, next to the Keras model's predictions
	@$(EDGEFERRY) -q export "$(MODEL)" --build "$(BUILD)" --format tfjs-float32 >&2
	@$(EDGEFERRY) demo "$(MODEL)" --build "$(BUILD)" $(ARGS)

# A worker more than cores, since tests wait for browsers and boards; four at most: each loads TensorFlow, 1 GB.
# ARGS="-n 0" runs them in one process, as a debugger needs.
test: install ## run the tests
	@$(PY) -m pytest -n $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --maxprocesses 4 --dist worksteal $(ARGS)

test-fast: install ## run the tests that take no second each, for work on the code
	@$(PY) -m pytest -m "not slow and not browser" $(ARGS)

bench: install ## measure the latency of MODEL's artifacts on every target here, in pytest-benchmark's table and files
	@EDGEFERRY_MODEL="$(MODEL)" EDGEFERRY_BUILD="$(BUILD)" $(PY) -m pytest benchmarks/bench_latency.py --benchmark-only $(ARGS)

bench-own: install ## time edgeferry itself, next to the converters' public recipes and other ways to measure
	@$(PY) -m pytest benchmarks --ignore benchmarks/bench_latency.py --benchmark-only $(ARGS)

# Locust has many dependencies of its own, so it has an environment of its own.
load-test: install .venv-load/installed ## put MODEL's endpoint under load with locust: CPU time of a request, throughput, percentiles
	@EDGEFERRY_LOCUST=.venv-load/bin/locust $(PY) -m edgeferry.benchmarks.load.run "$(BUILD)/$(basename $(notdir $(MODEL)))" $(ARGS)

.venv-load/installed: benchmarks/load/locust.lock
	@echo "edgeferry: setting up .venv-load" >&2
	@$(PY) -m venv --clear .venv-load
	@.venv-load/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	@touch $@

# Without openvino-telemetry, which it can do without, nothing reports home.
.venv-openvino/installed: targets/openvino/openvino.lock
	@found=$$(.ci/find-python 3.11 3.12 3.13) && \
	    echo "edgeferry: setting up .venv-openvino with $$found" >&2 && \
	    "$$found" -m venv --clear .venv-openvino
	@.venv-openvino/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	@touch $@

bench-coral: install ## run MODEL on a Coral board, HOST=user@board (REMEASURE=1 measures again), or on a USB Accelerator here, USB=1
	@EDGEFERRY_CORAL="$(or $(HOST),$(EDGEFERRY_CORAL))" EDGEFERRY_CORAL_REMEASURE="$(REMEASURE)" $(EDGEFERRY) check "$(MODEL)" \
	    --build "$(BUILD)" $(if $(USB),--target edgetpu-usb,--target coral-cpu --target coral-edgetpu) $(ARGS)

bench-mac: install ## run MODEL's Core ML packages on this Mac and what is connected to it, or on another, HOST=me@mac
	@EDGEFERRY_MAC="$(or $(HOST),$(EDGEFERRY_MAC))" $(EDGEFERRY) check "$(MODEL)" --build "$(BUILD)" \
	    $(foreach target,all cpu gpu ane reference iphone,--target coreml-$(target)) $(ARGS)

coverage: install ## export every layer of Keras to every format, and write what becomes of it to docs/coverage.md
	@PYTHONPATH=.:tests/support $(PY) -m corpus $(ARGS)

docs: install ## fill the documentation's tables and build its site into build/docs
	@PYTHONPATH=. $(PY) docs/generate.py
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet

lint: install ## check style and types
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@mkdir -p $(VENV)/typing/edgeferry && for each in __init__.py __main__.py commands; do ln -sfn ../../../edgeferry/$$each $(VENV)/typing/edgeferry/; done; \
	    for each in models exporters targets benchmarks; do ln -sfn ../../../$$each $(VENV)/typing/edgeferry/; done
	@MYPYPATH=$(VENV)/typing $(PY) -m mypy

format: install ## format the code in the project's style
	@$(PY) -m ruff check --fix-only .
	@$(PY) -m ruff format .

lock: ## resolve the dependencies again (needs uv)
	uv pip compile --universal --python-version 3.11 --extra check --extra check-onnx --extra check-coreml --extra export --extra bench --extra web --extra serve \
	    --extra fleet --extra docs --extra dev --group tfjs \
	    --generate-hashes --no-annotate --no-header --quiet pyproject.toml -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --quiet \
	    --constraints requirements.lock exporters/endpoint/requirements.in -o exporters/endpoint/requirements.txt
	echo 'locust' | uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --quiet \
	    - -o benchmarks/load/locust.lock
	echo 'openvino' | uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --quiet \
	    --no-emit-package openvino-telemetry - -o targets/openvino/openvino.lock
	echo 'onnxruntime-gpu[cuda,cudnn]' | uv pip compile --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	    --generate-hashes --no-annotate --no-header --quiet --constraints requirements.lock - -o requirements-gpu.lock

protocol: ## compile the Open Inference Protocol's messages again (needs uv)
	cd models/protocol && uvx --from grpcio-tools python -m grpc_tools.protoc -I. --python_out=. open_inference.proto

clean: ## remove what was built and installed
	rm -rf $(BUILD) $(VENV) .arm .venv-load .venv-openvino .venv-tflite-* $(WEB)/node_modules *.egg-info .mypy_cache .ruff_cache .pytest_cache

# A wheel needs Python 3.11 to 3.13; the program is asked, since a name on PATH may be a shim for nothing.
$(VENV)/installed: requirements.lock
	@found=$$(.ci/find-python 3.11 3.12 3.13) && \
	    echo "edgeferry: setting up $(VENV) with $$found, some minutes" >&2 && \
	    "$$found" -m venv --clear $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Old runtimes have wheels for Linux and the Pythons of their time only; where there is none, their rows say so.
.venv-tflite-2.14/installed: PYTHONS := 3.11 3.10 3.9
.venv-tflite-2.5/installed .venv-tflite-2.7/installed: PYTHONS := 3.7 3.9

.venv-tflite-2.14/installed: targets/boards/tflite_2_14.lock
.venv-tflite-2.7/installed: targets/boards/tflite_2_7.lock
.venv-tflite-2.5/installed: targets/boards/tflite_2_5.lock
.venv-tflite-%/installed:
	@mkdir -p $(@D)
	@if [ "$$(uname -s)" = Linux ] && found=$$(.ci/find-python $(PYTHONS) 2>/dev/null); then \
	    echo "edgeferry: setting up $(@D) with $$found" >&2; \
	    "$$found" -m venv --clear $(@D) && \
	    $(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $< \
	    || { rm -rf $(@D); mkdir -p $(@D); echo "edgeferry: no runtime in $(@D); its rows will say so" >&2; }; \
	else echo "edgeferry: no Python $(PYTHONS) on Linux, so nothing in $(@D); its rows will say so" >&2; fi
	@touch $@

$(WEB)/node_modules/installed: $(WEB)/package-lock.json $(WEB)/package.json
	@mkdir -p $(WEB)/node_modules
	@if command -v npm >/dev/null; then \
	    echo "edgeferry: setting up TensorFlow.js" >&2; \
	    (cd $(WEB) && npm ci --silent) || echo "edgeferry: npm failed, so no TensorFlow.js; its rows will say so" >&2; \
	else echo "edgeferry: no npm on PATH, so no TensorFlow.js; its rows will say so" >&2; fi
	@mkdir -p $(WEB)/node_modules && touch $@
