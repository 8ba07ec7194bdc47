import os

import pytest

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import vocabularies  # noqa: E402

from tokenizer_tools.sentencepiece_model import build_sentencepiece  # noqa: E402
from tokenizer_tools.vocabulary_files import read_vocabulary  # noqa: E402


@pytest.fixture(scope="session")
def gpt2():
    return read_vocabulary(vocabularies.gpt2_folder())


@pytest.fixture(scope="session")
def gpt2_model(gpt2):
    return build_sentencepiece(gpt2)


@pytest.fixture(scope="session")
def code(tmp_path_factory):
    return vocabularies.trained(tmp_path_factory.mktemp("code"), vocabularies.code_text(), 2000)


@pytest.fixture(scope="session")
def multilingual(tmp_path_factory):
    return vocabularies.trained(tmp_path_factory.mktemp("multilingual"), vocabularies.mixed_text(1), 2500)


@pytest.fixture(scope="session")
def models(gpt2, gpt2_model, code, multilingual):
    """name -> (vocabulary, model in mode raw-bytes)."""
    return {
        "gpt2": (gpt2, gpt2_model),
        "code": (code, build_sentencepiece(code)),
        "multilingual": (multilingual, build_sentencepiece(multilingual)),
    }
