# What docs/results.md reports of real volumes, trained here: Task04 by share of labels, mitochondria and neurons of ssTEM sections, an overfitted
# torso CT. `make results` calls this. Stages are directories below OUT; each continues where it was interrupted.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SECONDARY:

COMPUTE := --device $(DEVICE) --precision $(PRECISION)
EXAMPLES := data-manifests/datasets/examples
COMMA := ,
METHODS := components mean quantile multicut mutex-watershed
SCORES := $(OUT)/mitochondria/scores $(OUT)/ct/scores $(METHODS:%=$(OUT)/neurons/%/scores)

.PHONY: all
all: $(OUT)/task04/few/sweep.csv $(OUT)/task04/all/sweep.csv $(OUT)/task04/test/manifest.json $(SCORES:%=%/manifest.json)
	@echo; cat $(OUT)/task04/few/sweep.md; tail -n +3 $(OUT)/task04/all/sweep.md
	@grep -H '^  "threshold"' $(METHODS:%=$(OUT)/neurons/%/choice.json)
	@$(BIN)/evaluate --quiet report --runs $(SCORES) $(OUT)/task04/*/runs/*/scores --out $(OUT)/report
	@$(BIN)/evaluate show --report $(OUT)/report --classes

# $(1) name, $(2) descriptor, $(3) raw folder, $(4) what it depends on
define shards
$(OUT)/$(1)/shards/manifest.json: $(4)
	$(BIN)/preprocess --dataset $(2) --raw $(3) --out $$(@D)
	@touch $$@
endef

# --- Task04: 1 % and 10 % of the labels, all of them, and label maps of the test images -----------------------------------
$(eval $(call shards,task04,msd04-hippocampus,$(DATA)/Task04_Hippocampus,))
FRACTIONS_few := 0.01,0.1
OPTIONS_few := --steps 1000 --augmentation strong
FRACTIONS_all := 1
OPTIONS_all := --steps 2000
$(OUT)/task04/few/sweep.csv $(OUT)/task04/all/sweep.csv: $(OUT)/task04/%/sweep.csv: $(OUT)/task04/shards/manifest.json
	$(BIN)/finetune sweep --shards $(OUT)/task04/shards --raw $(DATA)/Task04_Hippocampus --out $(@D) --fractions $(FRACTIONS_$*) --seeds $(SEEDS) \
	    $(COMPUTE) -- --network resenc --batch 2 --ema 0.995 --lr 2e-3 $(OPTIONS_$*)
FIRST := $(firstword $(subst $(COMMA), ,$(SEEDS)))
$(OUT)/task04/test/manifest.json: $(OUT)/task04/all/sweep.csv
	$(BIN)/finetune predict --model $(OUT)/task04/all/runs/scratch-1-seed$(FIRST)/model --input $(DATA)/Task04_Hippocampus --cases test --out $(@D) --overwrite $(COMPUTE)

# --- one model each ---------------------------------------------------------------------------------------------------
# $(1) name, $(2) descriptor, $(3) raw folder, $(4) what this depends on, $(5) options of training, $(6) cases to predict
define model
$(call shards,$(1),$(EXAMPLES)/$(2).toml,$(3),$(4))
$(OUT)/$(1)/model/manifest.json: $(OUT)/$(1)/shards/manifest.json
	$(BIN)/finetune train --shards $(OUT)/$(1)/shards --out $$(@D) --network resenc --from-scratch --lr 2e-3 --seed 0 $(COMPUTE) $(5)
	@touch $$@
$(OUT)/$(1)/predictions/manifest.json: $(OUT)/$(1)/model/manifest.json
	$(BIN)/finetune predict --model $(OUT)/$(1)/model --input $(3) --out $$(@D) --overwrite $(6) $(COMPUTE)
	@touch $$@
endef
define classes
$(call model,$(1),$(2),$(3),$(4),$(5),--cases val)
$(OUT)/$(1)/scores/manifest.json: $(OUT)/$(1)/predictions/manifest.json
	$(BIN)/evaluate score --references $(3) --predictions $(OUT)/$(1)/predictions --dataset $(EXAMPLES)/$(2).toml --out $$(@D)
	@touch $$@
endef
EM := --warm-up 20 --augmentation strong --ema 0.99
$(eval $(call classes,ct,ct-torso-overfit,$(DATA)/CT_torso,,--steps 700 --batch 1))
$(eval $(call classes,mitochondria,em-sstem-mitochondria,$(DATA)/EM_ssTEM,,$(EM) --steps 1500 --batch 2))

# --- neurons: every method with the threshold that is best on the sections that were trained on -------------------------
LINKED := $(OUT)/neurons/EM_ssTEM
$(LINKED)/sample_vnc.h5:
	mkdir -p $(@D)
	$(PYTHON) $(EXAMPLES)/link_sections.py $(DATA)/EM_ssTEM/sample_vnc.h5 $@
$(eval $(call model,neurons,em-sstem-neurons,$(LINKED),$(LINKED)/sample_vnc.h5,$(EM) --steps 1000 --batch 1,--cases val))
$(OUT)/neurons/trained/manifest.json: $(OUT)/neurons/model/manifest.json
	$(BIN)/finetune predict --model $(OUT)/neurons/model --input $(LINKED) --out $(@D) --overwrite --cases train $(COMPUTE)
	@touch $@
THRESHOLDS_components := 0.1,0.2,0.3,0.4,0.5,0.7,0.85
THRESHOLDS_mean := 0.3,0.5,0.7,0.8
THRESHOLDS_quantile := 0.3,0.5,0.7
THRESHOLDS_multicut := 0.2,0.3,0.5
# it has none; the option wants one all the same
THRESHOLDS_mutex-watershed := 0.5
$(OUT)/neurons/%/choice.json: $(OUT)/neurons/trained/manifest.json
	@mkdir -p $(@D)
	$(BIN)/finetune threshold --model $(OUT)/neurons/model --predictions $(<D) --references $(LINKED) --methods $* --thresholds $(THRESHOLDS_$*) --out $@
$(OUT)/neurons/%/neurons/manifest.json: $(OUT)/neurons/%/choice.json $(OUT)/neurons/predictions/manifest.json
	$(BIN)/finetune --quiet instances --predictions $(OUT)/neurons/predictions --choice $< --out $(@D)
	@touch $@
$(OUT)/neurons/%/scores/manifest.json: $(OUT)/neurons/%/neurons/manifest.json
	$(BIN)/evaluate --quiet instances --references $(LINKED) --predictions $(<D) --dataset $(EXAMPLES)/em-sstem-neurons.toml --out $(@D)
	@touch $@
