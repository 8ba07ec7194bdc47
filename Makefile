# Every target is a thin call of task-bundler; `make` alone prints them.
PYTHON ?= python3
MODEL ?= gpt2_training/sample
QUANT ?= int8
NAME ?= $(notdir $(MODEL:/=))
OUT ?= out/$(NAME)
# The embedded sample comes with two adapters.
ADAPTERS ?= $(if $(filter gpt2_training/sample,$(MODEL:/=)),$(wildcard lora_weights/samples/pirate lora_weights/samples/shouting))
ARGS ?=
EXTRAS ?= dev
PIRATE := --rank 16 --steps 250 --learning-rate 4e-3 --licence apache-2.0
SHOUTING := --rank 16 --steps 500 --learning-rate 4e-3 --licence apache-2.0
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup bundle lora run try doctor verify test app-check app-install clean

help:
	@echo "make setup     install everything into .venv (every other target does it by itself the first time)"
	@echo "make bundle    build and verify out/NAME/NAME.task and .litertlm; without arguments the embedded sample"
	@echo "                 MODEL=openai-community/gpt2 or MODEL=path/to/checkpoint, QUANT=int8, OUT=folder, ARGS='--context 512'"
	@echo "make lora      train the sample's two adapters again"
	@echo "make run       let the bundle write: PROMPT='def '"
	@echo "make try       the bundle in your browser, in MediaPipe's own engine"
	@echo "make doctor    what is in the bundle, and what an engine would say of it: FILE=any .task, .litertlm, .tflite or tokenizer.model"
	@echo "make verify    check a finished bundle again: its files' hashes, and its numbers against MODEL"
	@echo "make test      run the tests"
	@echo "make app-check   compile, test and link the Android app without Android Studio; says what it has to skip"
	@echo "make app-install how the app and a bundle get onto a phone"
	@echo "make clean     remove .venv and what tests leave; out/ stays, it may hold work of yours"

setup: .venv/.ready

# PyTorch first and by itself: the version is the same, but where a CPU build is offered pip then takes it.
.venv/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else "Python %d.%d found; 3.11 to 3.13 is needed: make PYTHON=python3.12" % v[:2])'
	@echo "Setting up .venv: PyTorch, the TFLite converter and the engines, about 2.5 GB; a few minutes"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check "$$(sed -n 's/^  "\(torch==[^"]*\)",/\1/p' pyproject.toml)"
	$(BIN)/python -m pip install --disable-pip-version-check -e ".[$(EXTRAS)]"
	@touch $@

bundle: .venv/.ready
	$(BIN)/task-bundler build $(MODEL) -o $(OUT) --quant $(QUANT) --force $(addprefix --adapter ,$(ADAPTERS)) $(ARGS)

lora: .venv/.ready
	$(BIN)/python lora_weights/samples/make_texts.py out/texts
	$(BIN)/task-bundler lora train gpt2_training/sample out/texts/pirate.txt -o lora_weights/samples/pirate $(PIRATE) --force
	$(BIN)/task-bundler lora train gpt2_training/sample out/texts/shouting.txt -o lora_weights/samples/shouting $(SHOUTING) --force

run: .venv/.ready
	$(BIN)/task-bundler run $(OUT)/$(NAME).litertlm -p "$(or $(PROMPT),def )" $(ARGS)

try: .venv/.ready
	$(BIN)/task-bundler try $(OUT)/$(NAME).task $(ARGS)

doctor: .venv/.ready
	$(BIN)/task-bundler doctor $(or $(FILE),$(OUT)/$(NAME).task) $(ARGS)

verify: .venv/.ready
	cd $(OUT) && sha256sum --check --quiet SHA256SUMS
	$(BIN)/task-bundler verify $(OUT)/$(NAME).task --against $(MODEL) $(ARGS)
	$(BIN)/task-bundler verify $(OUT)/$(NAME).litertlm --against $(MODEL) $(ARGS)

test: .venv/.ready
	$(BIN)/python -m pytest $(ARGS)

app-check: .venv/.ready
	$(BIN)/python android_mediapipe_app/verify/app_check.py $(ARGS)

# Gradle and Google's libraries come with Android Studio, not with this repository: this prints the way.
app-install:
	@sed -n '/^## On a phone/,/^## /{/^## [^O]/!p}' android_mediapipe_app/README.md

clean:
	rm -rf .venv build *.egg-info .pytest_cache
