"""README.md of a build: the model card, with the header that the Hugging Face hub reads and a snippet for each runtime.

The hub's fields: https://huggingface.co/docs/hub/model-cards. `quantized_by` is whoever uploads, so `push` adds it.
"""

from __future__ import annotations

from lora_weights.card import yaml_text
from tokenizer_tools.printable import markdown

FILE = "README.md"
LIBRARY = "litert-lm"  # the hub's name for models of LiteRT-LM; MediaPipe has none
TAGS = ("gpt2", "litert", "litert-lm", "mediapipe", "tflite", "on-device", "android")
# As the app has them: android_mediapipe_app/gradle/libs.versions.toml; and the page of `try`: bundler/web/page.
KOTLIN_MEDIAPIPE, KOTLIN_LITERTLM, JAVASCRIPT = "0.10.35", "0.16.1", "0.10.29"
PROMPT = "Once upon a time"


def model_card(name: str, manifest: dict) -> str:
    """The whole card. `name`: of the bundle files."""
    return f"{_header(manifest)}\n{_facts(name, manifest)}\n{usage(name, manifest)}\n{_verification(manifest)}"


def with_uploader(card: str, owner: str) -> str:
    """The card with `quantized_by` in its header, as the hub names who made a quantized model."""
    head, mark, rest = card.removeprefix("---\n").partition("\n---\n")
    lines = [line for line in head.splitlines() if not line.startswith("quantized_by:")]
    return "\n".join(["---", *lines, f"quantized_by: {yaml_text(owner)}"]) + mark + rest


def _header(manifest: dict) -> str:
    source, licence = manifest["source"], manifest.get("licence")
    quantized = manifest["recipe"] != "fp32"
    lines = ["---"]
    if source.get("kind") == "hub":
        lines += [f"base_model: {yaml_text(source['name'])}"]
        lines += ["base_model_relation: quantized"] if quantized else []
    lines += [f"license: {yaml_text(licence)}"] if licence else []
    lines += [f"library_name: {LIBRARY}", "pipeline_tag: text-generation", "tags:"]
    lines += [f"- {tag}" for tag in (*TAGS, *([manifest["recipe"]] if quantized else ()))]
    return "\n".join([*lines, "---", ""])


def _weights(manifest: dict) -> str:
    """The recipe, and what a mix is made of."""
    if "mix" not in manifest:
        return manifest["recipe"]
    parts = ", ".join(f"{count} in {recipe}" for recipe, count in manifest["mix"]["recipes"].items())
    return f"{manifest['recipe']}: of the parts of layers {parts}"


def _facts(name: str, manifest: dict) -> str:
    source, architecture = manifest["source"], manifest["architecture"]
    revision = f" at revision {markdown(source['revision'])}" if source["revision"] else ""
    name = markdown(name)
    sampler = ", ".join(f"{field.replace('_', '-')} {value:g}" for field, value in manifest["sampler"].items())
    typed = "these tokens, as in transformers" if manifest["tokenizer"]["parse_special"] else "text"
    licence = manifest.get("licence")
    terms = f"its licence ({markdown(licence)})" if licence else "the licence of the original checkpoint"
    return f"""# {name}

A GPT-2 of {architecture["layers"]} layers, width {architecture["width"]}, for on-device use, made from \
{markdown(source["name"])}{revision}.

| | |
|---|---|
| weights | {_weights(manifest)} |
| context | {manifest["context"]} tokens, prefill in chunks of {" or ".join(map(str, manifest["prefill"]))} |
| start token | {markdown(manifest["start_token"])} |
| stop tokens | {", ".join(map(markdown, manifest["stop_tokens"]))} |
| default sampler | {sampler}; the .litertlm carries it, with the .task set it yourself |
| special tokens in a prompt | {typed} |
| tokenizer | {manifest["tokenizer"]["vocabulary"]} tokens, {len(manifest["tokenizer"]["alias_of"])} alias rows |
| {name}.task | {manifest["bytes"]["task"]:,} bytes, for MediaPipe's LLM Inference API |
| {name}.litertlm | {manifest["bytes"]["litertlm"]:,} bytes, for LiteRT-LM |

It completes text; it does not chat. {terms[0].upper() + terms[1:]} and the checkpoint's limits apply to it.
"""


def usage(name: str, manifest: dict) -> str:
    """A snippet for each runtime. A name that could end a string of a language gives way to `model`."""
    name = name if not set(name) & set("\"'\\`$") else "model"
    context, rank = manifest["context"], max(manifest.get("lora", {}).get("ranks", ()), default=None)
    # With inputs for adapters LiteRT-LM wants one in every session, if only that of zeros.
    kotlin_lora = ', loraConfig = LoraConfig("$folder/zero.tflite")' if rank else ""
    python_lora = ["\n    lora_rank_config=litert_lm.LoraRankConfig(lora_rank=%d)," % rank] if rank else [""]
    python_session = ', lora_config=litert_lm.LoraConfig(lora_path="adapters/zero.tflite")' if rank else ""
    command = f"{name}.task" if rank else f"{name}.litertlm"
    return f"""## Use

Android, with MediaPipe: `implementation("com.google.mediapipe:tasks-genai:{KOTLIN_MEDIAPIPE}")`

```kotlin
val options = LlmInference.LlmInferenceOptions.builder()
    .setModelPath("$folder/{name}.task").setMaxTokens({context}).build()
val session = LlmInferenceSession.createFromOptions(
    LlmInference.createFromOptions(context, options),
    LlmInferenceSession.LlmInferenceSessionOptions.builder().setTopK(40).setTemperature(0.8f).build(),
)
session.addQueryChunk("{PROMPT}")
session.generateResponseAsync {{ piece, done -> print(piece) }}
```

Android, with LiteRT-LM: `implementation("com.google.ai.edge.litertlm:litertlm-android:{KOTLIN_LITERTLM}")`

```kotlin
val engine = Engine(EngineConfig("$folder/{name}.litertlm", Backend.CPU(), maxNumTokens = {context}))
engine.initialize()
val sampling = SamplerConfig(topK = 40, topP = 1.0, temperature = 0.8)
val session = engine.createSession(SessionConfig(sampling{kotlin_lora}))
session.generateContentStream(listOf(InputData.Text("{PROMPT}")), object : ResponseCallback {{
    override fun onNext(response: String) = print(response)
}})
```

Web, with MediaPipe: `npm install @mediapipe/tasks-genai@{JAVASCRIPT}`

```javascript
import {{ FilesetResolver, LlmInference }} from "./node_modules/@mediapipe/tasks-genai/genai_bundle.mjs";

const files = await FilesetResolver.forGenAiTasks("./node_modules/@mediapipe/tasks-genai/wasm");
const baseOptions = {{ modelAssetPath: "{name}.task" }};
const options = {{ baseOptions, maxTokens: {context}, topK: 40, temperature: 0.8, randomSeed: 1 }};
const engine = await LlmInference.createFromOptions(files, options);
await engine.generateResponse("{PROMPT}", (piece) => document.body.append(piece));
```

Python, with LiteRT-LM: `pip install litert-lm-api`

```python
import litert_lm

engine = litert_lm.Engine(
    "{name}.litertlm",
    backend=litert_lm.Backend.CPU(),
    max_num_tokens={context},{python_lora[0]}
)
session = engine.create_session(apply_prompt_template=False{python_session})
session.run_prefill(["{PROMPT}"])
for part in session.run_decode_async():
    print(part.texts[0], end="", flush=True)
```

A shell, with LiteRT-LM: `pip install litert-lm`

```sh
litert-lm run {command} --no-template --max-num-tokens {context} --prompt "{PROMPT}"
```
"""


def _verification(manifest: dict) -> str:
    checks = "\n".join(
        f"| {markdown(gate['name'])} | {'skipped' if gate['skipped'] else 'passed'} | {markdown(gate['found'])} |"
        for gate in manifest["verification"]
    )
    return f"""## Verification against the original checkpoint

| check | result | found |
|---|---|---|
{checks}
"""
