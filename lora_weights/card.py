"""Model cards: that of a trained adapter is its folder's README.md."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tokenizer_tools.printable import markdown, printable

LARGEST_CARD = 1 << 20


def adapter_card(name: str, record: dict, licence: str | None) -> str:
    """The card, with the header that model hubs and `lora export` read. `record` is the training's, see train.py."""
    config, base = record["config"], markdown(record["base"])
    targets = ", ".join(map(markdown, config["targets"]))
    before, after = (
        f"{record[key]:.2f} ± {record[f'{key}_standard_error']:.2f}"
        for key in ("held_out_perplexity_before", "held_out_perplexity")
    )
    return f"""---
base_model: {yaml_text(record["base"])}
library_name: peft
{f"license: {yaml_text(licence)}" if licence else "# license: not stated"}
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


def licence_of(folder: Path) -> str | None:
    """What the header of a folder's model card says, if there is one."""
    path = folder / "README.md"
    try:
        card = path.read_text(encoding="utf-8") if path.is_file() and path.stat().st_size <= LARGEST_CARD else ""
    except (OSError, UnicodeDecodeError):
        return None
    header = re.match(r"---\n(.*?)\n---", card, re.DOTALL)
    named = re.search(r"^license:[ \t]*(\S{1,100})[ \t]*$", header[1], re.MULTILINE) if header else None
    return named[1] if named else None


def yaml_text(text: str) -> str:
    """A plain word as it is; anything else as JSON's string, which is YAML's too."""
    return (
        text if re.fullmatch(r"[A-Za-z][\w./-]*", text, re.ASCII) else json.dumps(printable(text), ensure_ascii=False)
    )
