import pytest
from doctor_files import Good

from bundler.pipeline.build import build
from bundler.pipeline.plan import BuildOptions
from tokenizer_tools.sentencepiece_model import build_sentencepiece
from tokenizer_tools.vocabulary_files import read_vocabulary


@pytest.fixture(scope="session")
def good(tiny_checkpoint, tiny_bundle, tmp_path_factory):
    """A verified build in int8, one in fp32, and one with LoRA ranks; nothing in them may be complained of."""
    folder = tmp_path_factory.mktemp("doctor")
    for name, options in (("fp32", dict(recipe="fp32")), ("lora", dict(lora_ranks=(16, 32)))):
        build(BuildOptions(str(tiny_checkpoint), folder / name, name="tiny", verify=False, **options))
    int8, lora = tiny_bundle[0], folder / "lora"
    return Good(
        int8 / "tiny.task",
        int8 / "tiny.litertlm",
        folder / "fp32/tiny.task",
        folder / "fp32/tiny.litertlm",
        lora / "tiny.task",
        lora / "tiny.litertlm",
        lora / "adapters/zero.tflite",
        lora / "adapters/zero.tflite",
        int8 / "tokenizer.model",
        build_sentencepiece(read_vocabulary(tiny_checkpoint), mode="byte-mapped").proto,
    )
