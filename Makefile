# Every target is a thin call of task-bundler; `make` alone prints them.
PYTHON ?= python3
MODEL ?= gpt2_training/sample
QUANT ?= int8
# Every nanoGPT checkpoint is called ckpt.pt: its folder has the name.
NAME ?= $(notdir $(patsubst %/,%,$(if $(filter %/ckpt.pt,$(MODEL)),$(dir $(MODEL)),$(patsubst %.pth,%,$(patsubst %.pt,%,$(MODEL:/=))))))
OUT ?= out/$(NAME)
# The embedded sample comes with two adapters.
ADAPTERS ?= $(if $(filter gpt2_training/sample,$(MODEL:/=)),$(wildcard lora_weights/samples/pirate lora_weights/samples/shouting))
ARGS ?=
# The shell finds the prompt in its environment, as it was typed: with its quotes, dollars and spaces.
ifeq ($(value PROMPT),)
override PROMPT := def $()
else
override PROMPT := $(value PROMPT)
endif
export PROMPT
EXTRAS ?= dev
PIRATE := --rank 16 --steps 250 --learning-rate 4e-3 --licence apache-2.0
SHOUTING := --rank 16 --steps 500 --learning-rate 4e-3 --licence apache-2.0
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-deps
LOCKED := $(PIP) --only-binary :all: --require-hashes
comma := ,

.DEFAULT_GOAL := help
.PHONY: help setup bundle lora run try doctor verify bench test lint lock app-check app-pictures app-install clean

help:
	@echo "make setup     install everything into .venv (every other target does it by itself the first time)"
	@echo "make bundle    build and verify out/NAME/NAME.task and .litertlm; without arguments the embedded sample"
	@echo "                 MODEL=openai-community/gpt2 or MODEL=path/to/checkpoint, QUANT=int8, OUT=folder, ARGS='--context 512'"
	@echo "make lora      train the sample's two adapters again"
	@echo "make run       let the bundle write: PROMPT='def '"
	@echo "make try       the bundle in your browser, in MediaPipe's own engine"
	@echo "make doctor    what is in the bundle, and what an engine would say of it: FILE=any .task, .litertlm, .tflite or tokenizer.model"
	@echo "make verify    check a finished bundle again: its files' hashes, and its numbers against MODEL"
	@echo "make bench     our bundles beside llama.cpp, ONNX Runtime, CTranslate2 and PyTorch, of a random 124M or of MODEL; about an hour"
	@echo "                 ARGS='--only llama --only task-bundler', ARGS='--seconds 200' for a part; the next call goes on"
	@echo "make test      run the tests"
	@echo "make lint      check the form of the code: ruff, 120 columns"
	@echo "make lock      write locks/ anew, after a change of the versions in pyproject.toml"
	@echo "make app-check   compile, test and link the Android app without Android Studio; says what it has to skip"
	@echo "make app-pictures draw the app's screens anew, for its README"
	@echo "make app-install how the app and a bundle get onto a phone"
	@echo "make clean     remove .venv, .venv-bench and what tests leave; out/ stays, it may hold work of yours"

setup: .venv/.ready

# All is locked by version and hash, except that PyTorch's builds, with CUDA and without, share the version and not the
# hash: where a CPU build is offered pip takes it, and an installed one stays. What the CUDA build needs is locked again.
.venv/.ready: pyproject.toml $(wildcard locks/*.txt)
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else "Python %d.%d found; 3.11 to 3.13 is needed: make PYTHON=python3.12" % v[:2])'
	@echo "Setting up .venv: PyTorch, the TFLite converter and the engines, about 2.5 GB; a few minutes"
	$(PYTHON) -m venv .venv
	$(PIP) -r locks/torch.txt
	$(LOCKED) -r locks/run.txt $(patsubst %,-r locks/%.txt,$(subst $(comma), ,$(EXTRAS)))
	if $(BIN)/python -c 'import importlib.metadata as m; raise SystemExit("nvidia-" not in str(m.requires("torch")))'; then $(LOCKED) -r locks/cuda.txt; fi
	$(PIP) --no-build-isolation -e .
	@touch $@

UV := build/lock/bin/uv pip compile pyproject.toml build/lock/backend.txt -q --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header

# run.txt with all that is not for development, a file for what each other extra adds to it, torch.txt and cuda.txt; the
# same versions for every Python.
lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install -q --disable-pip-version-check uv==0.13.9
	sed -n 's/^requires = \["\(.*\)"\]/\1/p' pyproject.toml > build/lock/backend.txt
	$(UV) --all-extras -o build/lock/all.txt
	$(UV) --extra all -c build/lock/all.txt -o build/lock/run.txt
	mkdir -p locks && rm -f locks/*.txt
	awk '/^[a-z]/ {file = /^(nvidia-|cuda-|triton=)/ ? "locks/cuda.txt" : /^torch=/ ? "" : "locks/run.txt"} /^torch=/ {print $$1 > "locks/torch.txt"} file {print > file}' build/lock/run.txt
	for extra in dev mediapipe; do \
		$(UV) --extra $$extra -c build/lock/all.txt -o locks/$$extra.txt $$(sed -n 's/^\([a-z0-9-]*\)==.*/--no-emit-package \1/p' build/lock/run.txt) || exit 1; \
	done
	rm -rf build/lock

bundle: .venv/.ready
	$(BIN)/task-bundler build $(MODEL) -o $(OUT) --quant $(QUANT) --force $(addprefix --adapter ,$(ADAPTERS)) $(ARGS)

lora: .venv/.ready
	$(BIN)/python lora_weights/samples/make_texts.py out/texts
	$(BIN)/task-bundler lora train gpt2_training/sample out/texts/pirate.txt -o lora_weights/samples/pirate $(PIRATE) --force
	$(BIN)/task-bundler lora train gpt2_training/sample out/texts/shouting.txt -o lora_weights/samples/shouting $(SHOUTING) --force

run: .venv/.ready
	$(BIN)/task-bundler run $(OUT)/$(NAME).litertlm -p "$$PROMPT" $(ARGS)

try: .venv/.ready
	$(BIN)/task-bundler try $(OUT)/$(NAME).task $(ARGS)

doctor: .venv/.ready
	$(BIN)/task-bundler doctor $(or $(FILE),$(OUT)/$(NAME).task) $(ARGS)

verify: .venv/.ready
	cd $(OUT) && sha256sum --check --quiet SHA256SUMS
	$(BIN)/task-bundler verify $(OUT)/$(NAME).task --against $(MODEL) $(ARGS)
	$(BIN)/task-bundler verify $(OUT)/$(NAME).litertlm --against $(MODEL) $(ARGS)

bench: .venv-bench/.ready
	.venv-bench/bin/python benchmarks/peers.py $(if $(findstring command,$(origin MODEL)),$(MODEL)) $(ARGS)

# The peers stand in an environment of their own, which sees the packages of .venv. What cannot be installed is left out.
.venv-bench/.ready: .venv/.ready benchmarks/peers-requirements.txt
	$(BIN)/python -m venv .venv-bench
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$$(.venv-bench/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/main.pth"
	sed -n 's/^\([a-z].*==[^ ]*\).*/\1/p' benchmarks/peers-requirements.txt | while read -r package; do \
		.venv-bench/bin/python -m pip install --disable-pip-version-check --no-deps "$$package" || echo "$$package could not be installed: it is left out"; \
	done
	@touch $@

# Two processes, a file each: more take more memory than most machines have, because tests build models.
test: .venv/.ready
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: .venv/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

app-check: .venv/.ready
	$(BIN)/python android_mediapipe_app/verify/app_check.py $(ARGS)

app-pictures: .venv/.ready
	$(BIN)/python android_mediapipe_app/verify/app_check.py --pictures

# Gradle and Google's libraries come with Android Studio, not with this repository: this prints the way.
app-install:
	@sed -n '/^## On a phone/,/^## /{/^## [^O]/!p}' android_mediapipe_app/README.md

clean:
	rm -rf .venv .venv-bench build *.egg-info .pytest_cache
