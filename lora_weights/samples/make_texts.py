"""Write the two texts that the sample adapters are trained on; nothing of them is downloaded.

    python lora_weights/samples/make_texts.py out/texts

shouting.txt: code of the Python standard library, from the machine's own Python, with every comment and docstring in
capitals. pirate.txt: Python functions as a pirate would write them, put together from the lists below with a seed.
"""

from __future__ import annotations

import ast
import io
import random
import sys
import sysconfig
import tokenize
from pathlib import Path

SHOUTING_BYTES = 600_000
SHORTEST, LONGEST = 2_000, 30_000  # bytes of a module
PIRATE_FUNCTIONS = 1500

VERBS = (
    "plunder",
    "hoist",
    "bury",
    "board",
    "scuttle",
    "swab",
    "barter",
    "sink",
    "chart",
    "guard",
    "count",
    "steal",
    "hunt",
    "rescue",
    "curse",
)
THINGS = (
    "galleon",
    "treasure",
    "rum",
    "parrot",
    "anchor",
    "cannon",
    "doubloon",
    "map",
    "island",
    "flag",
    "plank",
    "compass",
    "barrel",
    "kraken",
    "lantern",
)
PEOPLE = ("captain", "crew", "cook", "bosun", "gunner", "stowaway", "governor", "navigator", "cabin_boy", "mermaid")
PLACES = (
    "Tortuga",
    "the Spanish Main",
    "Dead Man's Cove",
    "the seven seas",
    "Port Royal",
    "Skull Island",
    "the crow's nest",
    "Davy Jones' locker",
)
CRIES = ("Arr!", "Avast!", "Yo ho ho!", "Shiver me timbers!", "Ahoy, matey!", "Blimey!", "Heave ho!")
INSULTS = ("ye scurvy dog", "ye bilge rat", "ye landlubber", "ye barnacle", "ye son of a biscuit eater")
MUTTERINGS = (
    "here be dragons",
    "mind the parrot, it bites",
    "the cook be drunk again",
    "ye'll not tell the captain",
    "never trust a calm sea",
    "dead men tell no tales",
    "fetch me another rum",
    "X marks the spot",
    "weigh anchor afore the tide turns",
)


def shout(source: str) -> str:
    """`source` with its comments and docstrings in capitals; code and other strings as they are."""
    lines = source.splitlines(keepends=True)
    spans = [
        (token.start, token.end)
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    ]
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
            and ast.get_docstring(node, clean=False) is not None
        ):
            text = node.body[0].value
            # Columns of the syntax tree count bytes; where that is no character's column, the line is left as it is.
            if all(lines[line - 1].isascii() for line in (text.lineno, text.end_lineno)):
                spans.append(((text.lineno, text.col_offset), (text.end_lineno, text.end_col_offset)))
    for (first, left), (last, right) in spans:
        for number in range(first, last + 1):
            line = lines[number - 1]
            begin, end = left if number == first else 0, right if number == last else len(line)
            upper = line[begin:end].upper()
            # Some letters get longer as capitals, which would move what follows on the line.
            lines[number - 1] = line[:begin] + (upper if len(upper) == end - begin else line[begin:end]) + line[end:]
    return "".join(lines)


def shouting_text() -> str:
    """Modules of the standard library in the order of their names, shouted."""
    parts, size = [], 0
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        try:
            source = path.read_text(encoding="utf-8")
            if not SHORTEST <= len(source) <= LONGEST or path.name.startswith("_"):
                continue
            parts.append(shout(source))
        except (UnicodeDecodeError, SyntaxError, tokenize.TokenError):
            continue
        if (size := size + len(parts[-1])) > SHOUTING_BYTES:
            break
    return "\n\n".join(parts)


def pirate_function(choose: random.Random) -> str:
    """One function: a pirate's names, docstring, comments and complaints, and code between them."""
    pick = choose.choice
    verb, thing, prize, person, place = pick(VERBS), pick(THINGS), pick(THINGS), pick(PEOPLE), pick(PLACES)
    number = choose.randint(2, 40)
    bodies = (
        f"    for {prize} in {thing}s:\n        if {prize} == '{pick(THINGS)}':\n            # {pick(MUTTERINGS)}\n    "
        "        continue\n"
        f"        {person}.{pick(VERBS)}({prize})\n    return {thing}s[:{number}]\n",
        f"    if not {person}:\n        raise Mutiny('no {person} aboard, {pick(INSULTS)}')\n    # {pick(MUTTERINGS)}\n"
        f"    {prize}s = {{{thing}: {number} for {thing} in {person}.{pick(THINGS)}s}}\n    return {prize}s\n",
        f"    while {person}.{thing}s < {number}:\n        {person}.{verb}({prize})  # {pick(CRIES).lower()}\n"
        f"    assert {prize}, 'where be the {prize}, {pick(INSULTS)}?'\n    return {person}\n",
        f"    with open('{thing}.map') as {prize}:\n        # {pick(MUTTERINGS)}\n        return "
        f"[{person}.{pick(VERBS)}(line) for line in {prize}]\n",
    )
    docstrings = (
        f"{pick(CRIES)} {verb.capitalize()} the {thing} afore the {person} wakes.",
        f"{pick(CRIES)} This be how ye {verb} a {thing} in {place}.\n\n    Ye be needin' {number} {prize}s, "
        f"{pick(INSULTS)}.\n    ",
        f"Return the {thing} to {place}, or walk the plank. {pick(CRIES)}",
        f"{pick(CRIES)} The {person} be wantin' {number} {prize}s.\n\n    Aye, and {pick(MUTTERINGS)}.\n    ",
    )
    return (
        f"def {verb}_the_{thing}({person}, {prize}{choose.choice(['', f'={number}', f', {thing}s'])}):\n    "
        f'"""{pick(docstrings)}"""\n{pick(bodies)}'
    )


def pirate_text(seed: int = 1) -> str:
    choose = random.Random(seed)
    return "\n\n".join(pirate_function(choose) for _ in range(PIRATE_FUNCTIONS))


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "shouting.txt").write_text(shouting_text(), encoding="utf-8")
    (folder / "pirate.txt").write_text(pirate_text(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
