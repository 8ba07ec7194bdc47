"""How tokens are drawn: the file says it to programs that do not, and what is verified does not depend on it."""

import dataclasses

import pytest

from bundler.containers.litertlm import MODEL_SECTION, read_litertlm, write_litertlm
from bundler.containers.llm_metadata import Sampler
from bundler.engines.litertlm import open_engine


def own_text(path, tokens=16):
    """What LiteRT-LM writes when it is told nothing of how to draw."""
    import litert_lm

    with litert_lm.Engine(
        str(path), backend=litert_lm.Backend.CPU(), max_num_tokens=96, cache_dir=":nocache"
    ) as engine:
        session = engine.create_session(apply_prompt_template=False, max_output_tokens=tokens)
        session.run_prefill(["It is"])
        return "".join(response.texts[0] for response in session.run_decode_async())


def test_a_litertlm_is_drawn_from_by_default_and_verified_greedily(tiny_bundle, tmp_path):
    """The file carries a sampler for programs that name none; what we ask for does not depend on it."""
    path = tiny_bundle[0] / "tiny.litertlm"
    file = read_litertlm(path)
    metadata = file.llm_metadata()
    assert metadata.sampler == Sampler(temperature=pytest.approx(0.8), top_k=40, top_p=1.0)
    section = file.find(MODEL_SECTION)
    without = tmp_path / "without.litertlm"
    write_litertlm(
        without,
        file.bytes_of(section),
        dataclasses.replace(metadata, sampler=None),
        tokenizer_json=file.tokenizer_json(),
        model_metadata={name: value for name, value in section.metadata.items() if name != "model_type"},
    )
    greedy = []
    for bundle in (path, without):
        with open_engine(bundle, max_tokens=96) as engine:
            greedy.append(engine.complete("It is", 16))
    assert greedy[0] == greedy[1] == own_text(without) != own_text(path)
