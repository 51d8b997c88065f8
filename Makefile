# GTGM in Rust. `make help` lists the targets; docs/reproduce.md explains the variables.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SECONDARY:

# --- set-up -----------------------------------------------------------------------------------------------------------
PYTHON ?= python3
VENV   := .venv
BIN    := target/release
CARGO  ?= cargo
DENY_VERSION := 0.20.2

.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo '  make reproduce DATA=DIR [DATASETS="msd04-hippocampus my.toml …"] [FRACTIONS="0.01 0.1 1"] [BUDGET=quick|paper]'
	@echo '                 [DEVICE=cpu|cuda] [PRECISION=fp32|bf16] [ENCODER=resenc|resnet50|swin-unetr] [OUT=runs/reproduce] [SEED=0]'

# LibTorch comes with PyTorch's wheel; .venv/torch is what .cargo/config.toml points at, whatever Python's version is.
$(VENV)/.python: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check "$$(grep '^cmake' requirements.txt)"
	touch $@

$(VENV)/.ready: requirements.txt $(VENV)/.python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	ln -sfn "$$($(VENV)/bin/python -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])')" $(VENV)/torch
	touch $@

$(VENV)/.nccl-ready: $(VENV)/.ready
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check nvidia-cuda-crt==13.0.88 nvidia-cuda-cccl==13.0.85
	touch $@

$(VENV)/.test-ready: requirements-test.txt $(VENV)/.ready
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-test.txt
	touch $@

$(VENV)/.bench-ready: requirements-bench.txt $(VENV)/.ready
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	touch $@

# A language model's server has many packages of its own, but the wheel with LibTorch is gigabytes: it is looked up in $(VENV).
LLM := .venv-llm
$(LLM)/.ready: requirements-llm.txt $(VENV)/.ready
	$(VENV)/bin/python -m venv $(LLM)
	$(VENV)/bin/python -c 'import site; print(site.getsitepackages()[0])' \
	    > "$$($(LLM)/bin/python -c 'import site; print(site.getsitepackages()[0])')/torch.pth"
	$(LLM)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-llm.txt
	touch $@

# Debian's packages, not installed but unpacked, where SLURM is not there.
SLURM := .local/slurm
$(SLURM)/.ready: tests/pipeline/tests/slurm/unpack.sh
	tests/pipeline/tests/slurm/unpack.sh $(SLURM)
	touch $@

.local/bin/cargo-deny-$(DENY_VERSION):
	$(CARGO) install --quiet --locked --debug --no-default-features --root .local cargo-deny@$(DENY_VERSION)
	mv .local/bin/cargo-deny $@

.PHONY: setup
setup: $(VENV)/.ready build ## Python environment with LibTorch and the text encoder, and the executables
	@echo "Set up. Executables are in $(BIN)."

# The wheel takes minutes to fetch: what does not need it is compiled meanwhile. That first build ends where LibTorch is
# missing; the second one completes it and is the one that counts.
# NCCL=1: several processes on GPUs, for which headers of NVIDIA are needed that PyTorch's wheel does not bring.
RELEASE := $(CARGO) build --quiet --release --workspace --bins $(if $(NCCL),--features 'pretrain/nccl finetune/nccl')
.PHONY: build
build: $(VENV)/.python
	@$(MAKE) --no-print-directory --question $(VENV)/.ready 2>/dev/null || { \
	    $(RELEASE) --keep-going >/dev/null 2>&1 & early=$$!; trap 'kill $$early 2>/dev/null || true' EXIT; \
	    $(MAKE) --no-print-directory $(VENV)/.ready; wait $$early || true; }
	@$(if $(NCCL),$(MAKE) --no-print-directory $(VENV)/.nccl-ready)
	@$(RELEASE)

# --- checks -----------------------------------------------------------------------------------------------------------
.PHONY: test
test: $(VENV)/.test-ready ## all tests
	$(CARGO) test --workspace --quiet

.PHONY: test-long
test-long: $(VENV)/.ready ## what takes minutes: thousands of cases, a volume larger than the memory allowed, 10,000 requests, 147 million weights, in release
	$(CARGO) test --release --quiet -p preprocess --test endurance -- --include-ignored --nocapture --test-threads 1
	$(CARGO) test --release --quiet -p text-synth --test api -- --ignored --nocapture --test-threads 1
	$(CARGO) test --release --quiet -p finetune --test runs -- --ignored --nocapture --test-threads 1 long_

.PHONY: test-gpu
test-gpu: $(VENV)/.test-ready $(VENV)/.nccl-ready ## that a GPU computes what a CPU computes, and NCCL (one process); needs a GPU
	$(CARGO) test --quiet --release -p torch-runtime --test device -- --ignored --nocapture on_a_gpu_
	$(CARGO) test --quiet --release -p networks --test it -- --ignored --nocapture device::
	$(CARGO) test --quiet --release -p pipeline --test device -- --ignored --nocapture --test-threads 1
	$(CARGO) test --quiet --release -p torch-runtime --features nccl --test group -- --include-ignored gpu
	$(CARGO) test --quiet --release -p pretrain --features nccl --test runs -- --include-ignored gpu
	$(CARGO) test --quiet --release -p finetune --features nccl --test runs -- --include-ignored gpu

# Executables come from 'test --no-run' here and below, as 'make test' builds them: 'build --bins' has other features of dependencies, and would
# compile half of them again.
.PHONY: test-llm
test-llm: $(LLM)/.ready ## reports from a real server (transformers serve) with a tiny random model
	$(CARGO) test --quiet --workspace --no-run
	GTGM_LLM_PYTHON="$(CURDIR)/$(LLM)/bin/python" $(CARGO) test --quiet --workspace --test llm -- --ignored

.PHONY: test-slurm
test-slurm: $(VENV)/.ready ## jobs of a real SLURM: interrupted, at their time limit, cancelled, of several tasks, in an array
	@for program in munged slurmctld slurmd sbatch srun; do \
	    PATH="$$PATH:/usr/sbin:/sbin" command -v $$program >/dev/null || { \
	        $(MAKE) --no-print-directory $(SLURM)/.ready; export GTGM_SLURM="$(CURDIR)/$(SLURM)"; break; }; \
	done; \
	$(CARGO) test --quiet --workspace --no-run; \
	$(CARGO) test --quiet --workspace --test slurm -- --ignored

.PHONY: lint
lint: $(VENV)/.ready .local/bin/cargo-deny-$(DENY_VERSION) ## Cargo.lock as it is committed, rustfmt, clippy with warnings denied, cargo-deny's walls
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --quiet -- -D warnings
	.local/bin/cargo-deny-$(DENY_VERSION) --log-level error check bans licenses sources

# What lint and test set up, for 'make --jobs': wheels are fetched while cargo-deny is compiled.
.PHONY: tools
tools: $(VENV)/.test-ready .local/bin/cargo-deny-$(DENY_VERSION)

.PHONY: docs
docs: $(VENV)/.ready ## the documentation of every crate, in target/doc
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

# --- measuring --------------------------------------------------------------------------------------------------------
FUZZ_RUNS ?= 400000
.PHONY: fuzz
fuzz: ## the readers against damaged files; needs cargo-fuzz and a nightly toolchain (fuzz/README.md)
	python3 fuzz/seeds.py
	for target in nifti_image nifti_label gzip stack_tiff stack_png; do \
	    $(CARGO) +nightly fuzz run --fuzz-dir fuzz $$target -- -runs=$(FUZZ_RUNS) -max_len=4096 -timeout=10 \
	        -rss_limit_mb=512 -malloc_limit_mb=16; \
	done

# What each benchmark runs of ours; the whole workspace takes minutes and most of it is not needed.
BENCH ?= preprocess
BENCHES := $(patsubst bench/%.py,%,$(filter-out bench/harness% bench/torch_%,$(wildcard bench/*.py)))
BUILT_preprocess := -p preprocess -p data-manifests
BUILT_shards := -p patches --example shards
BUILT_grounding := -p text-synth --example grounding
BUILT_instances := -p label-maps --example voxels_per_second
BUILT_evaluate := -p evaluate
BUILT_finetune := -p preprocess -p finetune --bins
BUILT_predict := $(BUILT_finetune)
BUILT_text := -p preprocess -p text-synth --bins
BUILT_pretrain := -p data-manifests -p preprocess -p text-synth -p pretrain --bins

.PHONY: bench
bench: $(VENV)/.bench-ready ## side by side with the usual Python tools: BENCH=preprocess|shards|text|grounding|instances|pretrain|finetune|predict|evaluate
	@test -n "$(filter $(BENCH),$(BENCHES))" || { echo 'unknown BENCH "$(BENCH)". Known: $(BENCHES)'; exit 2; }
	$(CARGO) build --quiet --release $(or $(BUILT_$(BENCH)),--workspace --bins)
	$(VENV)/bin/python bench/$(BENCH).py

# --- what a run is ----------------------------------------------------------------------------------------------------
DEVICE    ?= cpu
PRECISION ?= fp32
SEED      ?= 0
ENCODER   ?= resenc
BUDGET    ?= quick
ALL_DATASETS := msd01-braintumour msd02-heart msd03-liver msd04-hippocampus msd05-prostate msd06-lung msd07-pancreas \
                msd08-hepaticvessel msd09-spleen msd10-colon cremi-a cremi-b cremi-c

# demo: minutes on two cores. quick: half an hour for a small data set on two cores. paper: the published lengths, for a GPU.
# The short budgets take a higher learning rate than the published one, which is for 200,000 steps.
PRETRAIN_demo := --steps 80 --batch 8 --patch-zyx 16,48,48 --lr 3e-4 --warm-up 10 --checkpoint-every 40
TRAIN_demo    := --steps 300 --batch 2 --validate-every 100 --checkpoint-every 100
PREDICT_demo  := --overlap 0.25
PRETRAIN_quick := --steps 200 --batch 8 --lr 3e-4 --warm-up 20 --checkpoint-every 50
TRAIN_quick    := --steps 600 --batch 2 --validate-every 200 --checkpoint-every 100
PREDICT_quick  := --overlap 0.5
PRETRAIN_paper := --steps 200000 --batch 64 --checkpoint-every 500
TRAIN_paper    := --steps 25000 --batch 2 --validate-every 500 --checkpoint-every 500
PREDICT_paper  := --overlap 0.5 --mirror
# Labels of these are objects: affinities are predicted, made into neurons, and scored as such.
OBJECTS := cremi-a cremi-b cremi-c
THRESHOLDS := 0.3,0.5,0.7,0.8
FRACTIONS_demo  := 1
FRACTIONS_quick := 1
FRACTIONS_paper := 0.01 0.1 1
FRACTIONS ?= $(FRACTIONS_$(BUDGET))
NETWORK_resenc     := resenc
NETWORK_resnet50   := resunet50
NETWORK_swin-unetr := swin-unetr
COMPUTE := --device $(DEVICE) --precision $(PRECISION) --seed $(SEED)

# Where each data set lies below DATA.
FOLDER_msd01-braintumour := Task01_BrainTumour
FOLDER_msd02-heart := Task02_Heart
FOLDER_msd03-liver := Task03_Liver
FOLDER_msd04-hippocampus := Task04_Hippocampus
FOLDER_msd05-prostate := Task05_Prostate
FOLDER_msd06-lung := Task06_Lung
FOLDER_msd07-pancreas := Task07_Pancreas
FOLDER_msd08-hepaticvessel := Task08_HepaticVessel
FOLDER_msd09-spleen := Task09_Spleen
FOLDER_msd10-colon := Task10_Colon
FOLDER_cremi-a := CREMI
FOLDER_cremi-b := CREMI
FOLDER_cremi-c := CREMI

# --- demo and benchmark -----------------------------------------------------------------------------------------------
PHANTOMS := phantom-ct phantom-mri phantom-em

.PHONY: demo
demo: build ## phantoms of three modalities through every stage to an HTML report, on CPU, in minutes
	@$(MAKE) --no-print-directory run-pipeline OUT=runs/demo BUDGET=demo DATASETS="$(PHANTOMS)"

# Said before anything is built or run: a run that ends at its last stage has cost hours.
.PHONY: checked
checked:
	@fail() { printf '%s\n' "$$*"; exit 2; }; \
	test -n '$(strip $(DATA))' || fail 'Say where the data sets lie: make reproduce DATA=DIR (it holds Task04_Hippocampus, …)'; \
	test '$(words $(DATA))' -le 1 || fail 'DATA="$(DATA)" has blanks, which make cannot handle: give a link without (ln -s)'; \
	test -d '$(strip $(DATA))' || fail 'DATA=$(strip $(DATA)) is no folder'; \
	test -n '$(strip $(TRAIN_$(BUDGET)))' || fail "unknown BUDGET '$(BUDGET)': use quick or paper"; \
	test -n '$(strip $(FRACTIONS))' || fail 'FRACTIONS is empty: give shares of the labels, FRACTIONS="0.01 0.1 1"'; \
	for f in $(FRACTIONS); do \
	    awk -v f="$$f" 'BEGIN { exit !(f ~ /^[0-9]*\.?[0-9]+$$/ && f > 0 && f <= 1) }' \
	        || fail "FRACTIONS: '$$f' is no share above 0 and up to 1; part several by blanks: FRACTIONS=\"0.01 0.1 1\""; \
	done; \
	case '$(DEVICE)' in cpu|cuda|cuda:[0-9]*) ;; *) fail "unknown DEVICE '$(DEVICE)': use cpu, cuda or cuda:N" ;; esac; \
	case '$(PRECISION)' in fp32|bf16) ;; *) fail "unknown PRECISION '$(PRECISION)': use fp32 or bf16" ;; esac; \
	test -n '$(strip $(NETWORK_$(ENCODER)))' || fail "unknown ENCODER '$(ENCODER)': use resenc, resnet50 or swin-unetr"; \
	for d in $(filter-out $(PHANTOMS) $(ALL_DATASETS),$(DATASETS)); do \
	    test -e "$$d" || fail "unknown data set '$$d': it is no descriptor or folder, and none of $(ALL_DATASETS)"; \
	done

.PHONY: reproduce
reproduce: checked build ## the benchmark on real data below DATA=DIR, and your own by descriptors; incremental, resumable, any subset
	@$(MAKE) --no-print-directory run-pipeline

# Numbers, not assertions: what is expected of them is in docs/results.md.
SEEDS ?= 0,1,2
.PHONY: results
results: build $(VENV)/.test-ready ## what docs/results.md reports of real volumes below DATA=DIR (Task04, ssTEM, a torso CT): hours on two cores
	@test -n "$(DATA)" || { echo 'Say where the volumes lie: make results DATA=DIR (it holds Task04_Hippocampus, EM_ssTEM and CT_torso)'; exit 2; }
	@$(MAKE) --no-print-directory -f bench/results.mk DATA="$(DATA)" OUT="$(or $(OUT),runs/results)" BIN=$(BIN) PYTHON=$(VENV)/bin/python \
	    DEVICE=$(DEVICE) PRECISION=$(PRECISION) SEEDS=$(SEEDS)

.PHONY: run-pipeline
run-pipeline:
	@out="$(or $(OUT),runs/reproduce)"; \
	made() { stat -c %Y.%i "$$out/report/manifest.json" "$$out/encoder/manifest.json" 2>/dev/null || true; }; \
	before=$$(made); \
	$(MAKE) --no-print-directory pipeline OUT="$$out" DATASETS="$(or $(DATASETS),$(ALL_DATASETS))"; \
	if [ "$$before" = "$$(made)" ]; then echo "Nothing to do: every stage below $$out is up to date."; fi; \
	if [ "$$(cat "$$out/.arguments/goal")" = report ]; then $(BIN)/evaluate show --report "$$out/report"; \
	else echo "No data set has labels. The encoder is $$out/encoder/encoder.safetensors"; fi

ifneq ($(filter pipeline,$(MAKECMDGOALS)),)

.PHONY: pipeline FORCE
FORCE:

# Executables end with 3 when some cases failed and the others are done: the report says which, the pipeline goes on.
PARTIAL := || [ $$$$? -eq 3 ]

# A file that changes only when its text does: what depends on it runs again when a parameter changes, and only then.
define arguments
$(1): FORCE
	@mkdir -p $$(@D); printf '%s\n' '$(2)' | cmp -s - $$@ || printf '%s\n' '$(2)' > $$@
endef

# $(1) data set, $(2) raw directory, $(3) descriptor, $(4) files that the raw data depend on
define dataset
$(call arguments,$(OUT)/.arguments/$(1)-shards,$(2) $(3))
$(OUT)/$(1)/shards/manifest.json: $(OUT)/.arguments/$(1)-shards $(4)
	$(BIN)/preprocess --dataset $(3) --raw $(2) --out $$(@D) $(PARTIAL)
	@touch $$@
$(OUT)/$(1)/captions/manifest.json: $(OUT)/$(1)/shards/manifest.json
	$(BIN)/text-synth caption --shards $(OUT)/$(1)/shards --out $$(@D) --captioner measure
	@touch $$@
$(OUT)/$(1)/reports/manifest.json: $(OUT)/$(1)/captions/manifest.json
	$(BIN)/text-synth report --captions $(OUT)/$(1)/captions --out $$(@D) --writer template
	@touch $$@
$(OUT)/$(1)/text/manifest.json: $(OUT)/$(1)/reports/manifest.json
	$(BIN)/text-synth embed --reports $(OUT)/$(1)/reports --out $$(@D) --device $(DEVICE)
	@touch $$@
$(if $(filter $(1),$(labelled)),$(call learnt,$(1),$(2),$(3)))
endef

# one split for pretraining and fine-tuning: the cases that are scored are seen by neither
define learnt
$(OUT)/$(1)/split.json: $(OUT)/$(1)/shards/manifest.json $(OUT)/.arguments/split
	$(BIN)/data-manifests split --shards $(OUT)/$(1)/shards --seed $(SEED) --out $$@
$(foreach f,$(FRACTIONS),$(call fraction,$(1),$(f),$(2),$(3)))
endef

# $(1) data set, $(2) label fraction, $(3) raw directory, $(4) descriptor
define fraction

$(OUT)/$(1)/model-$(2)/manifest.json: $(OUT)/$(1)/shards/manifest.json $(OUT)/$(1)/split.json $(OUT)/encoder/manifest.json $(OUT)/.arguments/train
	$(BIN)/finetune train --shards $(OUT)/$(1)/shards --out $$(@D) --split $(OUT)/$(1)/split.json --network $(NETWORK_$(ENCODER)) \
	    --encoder-weights $(OUT)/encoder/encoder.safetensors --fraction $(2) $(TRAIN_$(BUDGET)) $(COMPUTE) --overwrite
	@touch $$@
$(OUT)/$(1)/predictions-$(2)/manifest.json: $(OUT)/$(1)/model-$(2)/manifest.json $(OUT)/.arguments/predict
	$(BIN)/finetune predict --model $(OUT)/$(1)/model-$(2) --input $(3) --out $$(@D) --overwrite $(PREDICT_$(BUDGET)) $(COMPUTE) $(PARTIAL)
	@touch $$@
$(if $(filter $(1),$(OBJECTS)),$(call score_objects,$(1),$(2),$(3),$(4)),$(call score_classes,$(1),$(2),$(3),$(4)))
endef

define score_classes
$(OUT)/$(1)/scores-$(2)/manifest.json: $(OUT)/$(1)/predictions-$(2)/manifest.json
	$(BIN)/evaluate score --references $(3) --predictions $(OUT)/$(1)/predictions-$(2) --dataset $(4) --out $$(@D) --missing worst $(PARTIAL)
	@touch $$@
endef

# how objects are made is chosen on what was trained on
define score_objects
$(OUT)/$(1)/trained-$(2)/manifest.json: $(OUT)/$(1)/model-$(2)/manifest.json $(OUT)/.arguments/predict
	$(BIN)/finetune predict --model $(OUT)/$(1)/model-$(2) --input $(3) --cases train --out $$(@D) --overwrite $(PREDICT_$(BUDGET)) $(COMPUTE) $(PARTIAL)
	@touch $$@
$(OUT)/$(1)/choice-$(2).json: $(OUT)/$(1)/trained-$(2)/manifest.json
	$(BIN)/finetune threshold --model $(OUT)/$(1)/model-$(2) --predictions $$(<D) --references $(3) --thresholds $(THRESHOLDS) --out $$@
$(OUT)/$(1)/neurons-$(2)/manifest.json: $(OUT)/$(1)/predictions-$(2)/manifest.json $(OUT)/$(1)/choice-$(2).json
	$(BIN)/finetune instances --predictions $$(<D) --choice $(OUT)/$(1)/choice-$(2).json --out $$(@D) --overwrite $(PARTIAL)
	@touch $$@
$(OUT)/$(1)/scores-$(2)/manifest.json: $(OUT)/$(1)/neurons-$(2)/manifest.json
	$(BIN)/evaluate instances --references $(3) --predictions $(OUT)/$(1)/neurons-$(2) --dataset $(4) --out $$(@D) --missing worst $(PARTIAL)
	@touch $$@
endef

# One's own data sets are descriptors, or raw folders with nnU-Net's dataset.json, and go by the names that these give them. Data without
# labels are pretrained on; there is nothing to fine-tune.
own := $(filter-out $(PHANTOMS) $(ALL_DATASETS),$(DATASETS))
told = $(shell $(BIN)/data-manifests show '$(1)' | sed -n 's/^$(2) = "\(.*\)"$$/\1/p' | head -n 1)
define described
NAME_$(1) := $$(call told,$(1),name)
ifeq ($$(NAME_$(1)),)
$$(error DATASETS: '$(1)' is no data set of the benchmark ($(ALL_DATASETS)), and no descriptor that can be read)
endif
DESCRIPTOR_$$(NAME_$(1)) := $(1)
FOLDER_$$(NAME_$(1)) := $$(call told,$(1),folder)
RAW_$$(NAME_$(1)) := $$(if $$(wildcard $(1)/.),$(1),$(DATA)/$$(call told,$(1),folder))
KIND_$$(NAME_$(1)) := $$(call told,$(1),kind)
endef
$(foreach d,$(own),$(eval $(call described,$(d))))
own_names := $(foreach d,$(own),$(NAME_$(d)))
names := $(filter $(PHANTOMS) $(ALL_DATASETS),$(DATASETS)) $(own_names)
ifneq ($(words $(names)),$(words $(sort $(names))))
$(error DATASETS: two data sets have one name: $(names))
endif
labelled := $(foreach d,$(names),$(if $(filter $(d),$(own_names)),$(if $(KIND_$(d)),$(d)),$(d)))
OBJECTS += $(foreach d,$(own_names),$(if $(filter instances,$(KIND_$(d))),$(d)))

# a missing data set is said once, before anything runs
real := $(filter $(ALL_DATASETS),$(DATASETS))
$(foreach d,$(real),$(eval RAW_$(d) := $(DATA)/$(FOLDER_$(d)))$(eval DESCRIPTOR_$(d) := $(d)))
raw_missing := $(strip $(foreach d,$(real) $(own_names),$(if $(wildcard $(RAW_$(d))/.),,$(RAW_$(d)))))
ifneq ($(raw_missing),)
$(error missing raw data: $(raw_missing). Fetch them, or name what you have with DATASETS="…")
endif
# without labels there is nothing to fine-tune and to score: the encoder is the end
goal := $(if $(labelled),report,encoder)
pipeline: $(OUT)/$(goal)/manifest.json $(OUT)/.arguments/goal
ifeq ($(strip $(TRAIN_$(BUDGET))),)
$(error unknown BUDGET '$(BUDGET)': use quick or paper)
endif
ifeq ($(strip $(NETWORK_$(ENCODER))),)
$(error unknown ENCODER '$(ENCODER)': use resenc, resnet50 or swin-unetr)
endif

SIZE := demo
$(OUT)/phantom/manifest.json: $(OUT)/.arguments/phantom
	$(BIN)/data-manifests phantom --out $(@D) --size $(SIZE) --seed $(SEED)
	@touch $@

$(eval $(call arguments,$(OUT)/.arguments/phantom,$(SIZE) $(SEED)))
$(eval $(call arguments,$(OUT)/.arguments/goal,$(goal)))
$(eval $(call arguments,$(OUT)/.arguments/split,$(SEED)))
$(eval $(call arguments,$(OUT)/.arguments/pretrain,$(names) $(ENCODER) $(PRETRAIN_$(BUDGET)) $(COMPUTE)))
$(eval $(call arguments,$(OUT)/.arguments/train,$(ENCODER) $(TRAIN_$(BUDGET)) $(COMPUTE)))
$(eval $(call arguments,$(OUT)/.arguments/predict,$(PREDICT_$(BUDGET)) $(COMPUTE)))
$(eval $(call arguments,$(OUT)/.arguments/report,$(names) $(FRACTIONS)))

FOLDER_phantom-ct := PhantomCT
FOLDER_phantom-mri := PhantomMRI
FOLDER_phantom-em := PhantomEM
phantom_folder = $(OUT)/phantom/$(1)
$(foreach d,$(filter $(PHANTOMS),$(DATASETS)),$(eval $(call dataset,$(d),$(call phantom_folder,$(d))/$(FOLDER_$(d)),$(call phantom_folder,$(d))/descriptor.toml,$(OUT)/phantom/manifest.json)))
# Names, sizes and times of a data set's raw files: another text where one is new, changed or gone. Names may hold blanks, which no list of
# prerequisites bears.
define listed
$(OUT)/.arguments/$(1)-raw: FORCE
	@mkdir -p $$(@D); find -L '$(2)' -type f -printf '%P %s %T@\n' | LC_ALL=C sort > $$@.tmp; \
	    if cmp -s $$@.tmp $$@; then rm $$@.tmp; else mv $$@.tmp $$@; fi
endef
$(foreach d,$(real) $(own_names),$(eval $(call listed,$(d),$(RAW_$(d)))))
$(foreach d,$(real) $(own_names),$(eval $(call dataset,$(d),$(RAW_$(d)),$(DESCRIPTOR_$(d)),$(OUT)/.arguments/$(d)-raw $(filter %.toml,$(DESCRIPTOR_$(d))))))

$(OUT)/encoder/manifest.json: $(OUT)/.arguments/pretrain $(foreach d,$(names),$(OUT)/$(d)/shards/manifest.json $(OUT)/$(d)/text/manifest.json) \
    $(foreach d,$(labelled),$(OUT)/$(d)/split.json)
	$(BIN)/pretrain $(foreach d,$(names),--shards $(OUT)/$(d)/shards --text $(OUT)/$(d)/text) \
	    $(foreach d,$(labelled),--leave-out $(d)=$(OUT)/$(d)/split.json) \
	    --out $(@D) --test-cases leave-out \
	    --encoder $(ENCODER) $(PRETRAIN_$(BUDGET)) $(COMPUTE) --overwrite
	@touch $@

$(OUT)/report/manifest.json: $(OUT)/.arguments/report $(foreach d,$(labelled),$(foreach f,$(FRACTIONS),$(OUT)/$(d)/scores-$(f)/manifest.json))
	$(BIN)/evaluate report --out $(@D) --runs $(foreach d,$(labelled),$(foreach f,$(FRACTIONS),$(OUT)/$(d)/scores-$(f)))
	@touch $@

endif

.PHONY: clean
clean: ## remove the demo's run; shards and models of other runs stay
	rm -rf runs/demo
