# `make demo` and `make test` set themselves up; a second call installs nothing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-slurm test-ray faults-clusters gate gpu-check faults lint format clean

CLUSTERS := OMP_NUM_THREADS=1 BENCH_CLUSTERS=1 $(BIN)/python -m pytest --durations 15

demo: $(INSTALLED)
	$(BIN)/bench run --methods lasium,umtra --budget quick --workers 2 --out runs/demo
	$(BIN)/bench report --runs runs/demo --out reports/demo

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --durations 15

# One method for every task sampler of the gate's suite.
SAMPLERS := umtra-protonet,aal-protonet-5shot,lasium-n-object-protonet,lasium-ro-object-protonet,$\
	lasium-oc-object-protonet,cactus-bigan-protonet-5way,cactus-deepcluster-protonet-5way

# Six minutes, on a SLURM of one node that is started for it: as root, with apt-get install slurm-wlm munge.
test-slurm: $(INSTALLED)
	$(CLUSTERS) tests/clusters/test_slurm.py -m "$(or $(ONLY),cluster)"

# Five minutes, on a Ray of two raylets that is started for it: after .venv/bin/pip install -e '.[ray]'.
test-ray: $(INSTALLED)
	$(CLUSTERS) tests/clusters/test_ray.py tests/clusters/test_four_executors.py

# A quarter of an hour: workers and drivers killed at random during 40 runs on each; other moments with BENCH_FAULTS_SEED=1.
faults-clusters: $(INSTALLED)
	$(CLUSTERS) tests/clusters/test_random_kills.py

# The rows that take a second or two; they get six seeds, the others two.
BRIEF := umtra-protonet,aal-protonet-5shot,lasium-n-object-protonet,lasium-ro-object-protonet,lasium-oc-object-protonet,$\
	supervised-protonet

# Two minutes: trains the gate's suite anew and compares it with the recorded baseline and its re-runs.
gate: $(INSTALLED)
	rm -rf runs/gate
	OMP_NUM_THREADS=1 $(BIN)/bench run --experiment gate --workers 2 --seeds 0-5 --methods $(BRIEF) --no-references --out runs/gate
	OMP_NUM_THREADS=1 $(BIN)/bench run --experiment gate --workers 2 --seeds 0-1 --out runs/gate
	OMP_NUM_THREADS=1 $(BIN)/bench inspect $(SAMPLERS) --experiment gate --tasks 200 --out runs/gate
	$(BIN)/bench check --baseline reports/baselines/gate.parquet --runs runs/gate

# Ten minutes on a machine with a GPU: its tests, its table of speed, a run at the paper's length, results in one folder.
# DATA: the folder that Omniglot lies in; without it the runs are of the embedded glyphs.
gpu-check: $(INSTALLED)
	$(BIN)/python -m bench.speed.gpu_check --row umtra-maml --experiment table1-omniglot $(if $(DATA),--data-dir $(DATA))

# A quarter of an hour: kills at random moments, damaged files, full disks; other moments and bytes with BENCH_FAULTS_SEED=1.
faults: $(INSTALLED)
	OMP_NUM_THREADS=1 BENCH_FAULTS_KILLS=$${BENCH_FAULTS_KILLS:-300} BENCH_FAULTS_DAMAGED=$${BENCH_FAULTS_DAMAGED:-2000} BENCH_FAULTS_RUNS=$${BENCH_FAULTS_RUNS:-40} \
		$(BIN)/python -m pytest tests/faults

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
