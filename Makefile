# Needs Python 3.11 or newer, make and the package index. Every target creates what it needs.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONDONTWRITEBYTECODE  # tests start hundreds of processes
# Tests sync many thousand small files: half the time goes where they lie in memory, if 3 GB are free there.
IN_MEMORY := $(shell [ "$$(df -k --output=avail /dev/shm 2>/dev/null | tail -1)" -gt 3000000 ] 2>/dev/null && echo /dev/shm)
test test-slow test-service test-s3 stack-test fuzz faults faults-some: export TMPDIR := $(or $(TMPDIR),$(IN_MEMORY),/tmp)

.PHONY: demo test lint test-slow test-service test-s3 faults faults-some stack-test validity components profiles one-control fuzz quality ingest fit predict select rerun load audit preprint deimos stopping inference-set regression regression-full ablations noise genes genedisco kcviab assessed clean

demo: .venv/demo.stamp            ## the whole loop on real data, no service needed
	$(BIN)/hybridscreen demo

test: .venv/dev.stamp             ## the quick tests, in parallel
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: .venv/dev.stamp             ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-slow: .venv/dev.stamp        ## tests that take more than some seconds each
	$(BIN)/python -m pytest -n auto --dist worksteal -m slow --ignore tests/service

test-service: .venv/dev.stamp     ## the same of the service, one after another: they share one, and mostly wait
	$(BIN)/python -m pytest -m slow tests/service

test-s3: .venv/dev.stamp          ## everything that speaks S3, against a real Ceph object store on loopback
	tests/services/with_rgw.sh $(BIN)/python -m pytest -m "not browser" tests/checkpoints tests/flows/test_storages.py tests/infra/test_bucket_policy.py

faults: .venv/dev.stamp            ## kills at every boundary, a failing store, races, losses; records the figures. Hours on 2 cores
	$(BIN)/python tests/faults/run.py --record

faults-some: .venv/dev.stamp       ## a part of it: every 24th kill point; more than a quarter of an hour on 2 cores
	$(BIN)/python -m pytest -m faults tests/faults/test_kill_points.py

stack-test: .venv/dev.stamp       ## three rounds through the whole stack and its pages, on loopback; needs PostgreSQL, Redis, Ceph, Chromium
	tests/services/with_rgw.sh $(BIN)/python -m pytest -m browser tests/infra tests/publishing

fuzz: .venv/dev.stamp             ## 20,000 hostile files through every parser, and their figures; FUZZ_CASES=200000 for longer
	$(BIN)/python -m pytest -m fuzz tests/fuzz

validity: .venv/dev.stamp         ## 100 demo campaigns: does the certificate hold? About an hour on 2 cores
	$(BIN)/python tests/benchmarks/certificate_validity.py

components: .venv/dev.stamp       ## simulated screens: are variance components right? Some minutes
	$(BIN)/python tests/benchmarks/variance_components.py

profiles: .venv/dev.stamp         ## BBBC021 under every alignment of profiles; needs HYBRIDSCREEN_DATA
	$(BIN)/python tests/benchmarks/profile_alignment.py

one-control: .venv/dev.stamp      ## KcViab, one control a plate, under every alignment; needs HYBRIDSCREEN_DATA
	$(BIN)/python tests/benchmarks/kcviab_alignment.py

quality: .venv/dev.stamp         ## predictors on uci and mnist, beside scikit-learn's; needs HYBRIDSCREEN_DATA
	$(BIN)/python tests/benchmarks/ensemble_quality.py

audit: .venv/dev.stamp            ## published advisories about what the images install; without pypi.org it says that it did not look
	$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/python infra/audit.py

load: .venv/dev.stamp             ## commands on large inboxes, many campaigns and rounds, large libraries: cost and growth; 3 minutes
	$(BIN)/python tests/benchmarks/load.py

ingest: .venv/dev.stamp           ## speed and memory of ingestion on this machine
	$(BIN)/hybridscreen bench ingest --plates 1000
	$(BIN)/hybridscreen bench ingest --plates 250
	$(BIN)/hybridscreen bench ingest --plates 100 --features 500

fit: .venv/dev.stamp              ## speed of training on this machine, beside plain torch
	$(BIN)/hybridscreen bench fit --hidden 128 --epochs 4
	$(BIN)/hybridscreen bench fit --hidden 512

predict: .venv/dev.stamp          ## speed and memory of predicting 1 and 10 million; needs 20 GB of disk
	$(BIN)/hybridscreen bench predict
	$(BIN)/hybridscreen bench predict --pool 10000000

select: .venv/dev.stamp           ## speed and memory of choosing from up to 10 million; needs 6 GB of disk, half an hour
	$(BIN)/python tests/benchmarks/select_speed.py

rerun: .venv/dev.stamp            ## 100 plates with nothing new: seconds and requests, in a folder and on Ceph's S3; 15 minutes
	$(BIN)/hybridscreen bench rerun
	tests/services/with_rgw.sh sh -c "$(BIN)/python -c 'import s3fs; s3fs.S3FileSystem().mkdir(\"bench\")' && $(BIN)/hybridscreen bench rerun --storage s3://bench"

preprint: .venv/dev.stamp         ## drops of bias and error, true and estimated, on three types of noise; 75 minutes on one core
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/preprint_experiment.py

deimos: .venv/dev.stamp           ## expected improvement in one dimension and on MNIST; 50 minutes on one core, needs HYBRIDSCREEN_DATA
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/deimos_experiment.py

stopping: .venv/dev.stamp         ## 1,000 simulated campaigns a case: is the certificate right, what does it cost; an hour of one core
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/stopping_simulation.py

inference-set: .venv/dev.stamp    ## active against random on MNIST and QM9, and wells to certify; 25 minutes on one core, needs HYBRIDSCREEN_DATA
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/inference_set_experiment.py

regression: .venv/dev.stamp       ## does the default beat random and LCMD on five sets? Some hours of one core; needs HYBRIDSCREEN_DATA, and bmdal_reg for one arm
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/replay_experiments.py regression

regression-full: .venv/dev.stamp  ## the default and random to 4,352 labels in 16 batches; five minutes of one core a campaign, needs HYBRIDSCREEN_DATA
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/replay_experiments.py regression-full

ablations: .venv/dev.stamp        ## the default with one part exchanged, one seed; an hour and a half of one core, needs HYBRIDSCREEN_DATA
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/replay_experiments.py ablations

noise: .venv/dev.stamp            ## and where wells are noisy, unevenly or by plates? Some hours of one core; needs HYBRIDSCREEN_DATA
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/replay_experiments.py noise

genes: .venv/dev.stamp            ## and on genome-wide screens, for the model and for hits? Needs HYBRIDSCREEN_DATA
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/replay_experiments.py genes

genedisco: .venv/dev.stamp        ## GeneDisco's nine functions and two models on IL-2; needs HYBRIDSCREEN_DATA
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/replay_experiments.py genedisco

assessed: .venv/dev.stamp         ## what does assess say of genome-wide and regression sets before a campaign? Needs HYBRIDSCREEN_DATA
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/assessed_sets.py

kcviab: .venv/dev.stamp           ## a campaign on KcViab through plate files, 12 plates a round; an hour of one core, needs HYBRIDSCREEN_DATA
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/kcviab_campaign.py

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/demo.stamp: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	touch $@

.venv/dev.stamp: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ .venv/demo.stamp

clean:
	rm -rf .venv hybridscreen-demo build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
