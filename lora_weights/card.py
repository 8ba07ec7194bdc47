"""The model card of a trained adapter: its folder's README.md."""

from __future__ import annotations

import json
import re

from tokenizer_tools.printable import markdown, printable


def adapter_card(name: str, record: dict, licence: str | None) -> str:
    """The card, with the header that model hubs and `lora export` read. `record` is the training's, see train.py."""
    config, base = record["config"], markdown(record["base"])
    targets = ", ".join(map(markdown, config["targets"]))
    before, after = (
        f"{record[key]:.2f} ± {record[f'{key}_standard_error']:.2f}"
        for key in ("held_out_perplexity_before", "held_out_perplexity")
    )
    return f"""---
base_model: {_yaml(record["base"])}
library_name: peft
{f"license: {_yaml(licence)}" if licence else "# license: not stated"}
---

# {markdown(name)}

A LoRA adapter of rank {config["rank"]} for {base}: {record["trainable_parameters"]:,} parameters beside {targets}.

| | |
|---|---|
| text | {markdown(record["text"])} |
| training | {config["steps"]} steps of {config["batch"]} × {config["context"]} tokens, seed {config["seed"]} |
| held-out perplexity without it | {before} |
| held-out perplexity with it | {after} |

    {printable(record["command"])}
"""


def _yaml(text: str) -> str:
    """A plain word as it is; anything else as JSON's string, which is YAML's too."""
    return (
        text if re.fullmatch(r"[A-Za-z][\w./-]*", text, re.ASCII) else json.dumps(printable(text), ensure_ascii=False)
    )
