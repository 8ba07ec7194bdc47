"""The divergence that a part brings, against transformers' own model with that part changed."""

import numpy as np
import pytest
import torch
from tiny_checkpoint import write_model

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.conversion.calibration import Inputs
from bundler.conversion.gptq import dequantize, gptq
from bundler.conversion.recipes import INT8, Storage
from bundler.conversion.sensitivity import PARTS, sensitivities

CALIBRATION, MEASURED = torch.randint(97, (2, 6, 20), generator=torch.Generator().manual_seed(1))
RECIPES = {
    "int8": lambda matrix, hessian: gptq(matrix, hessian, INT8),
    "int4": lambda matrix, hessian: gptq(matrix, hessian, Storage(4, 4)),
}


@pytest.mark.parametrize("fields", [{}, {"tie_word_embeddings": False, "dtype": torch.float16}], ids=str)
def test_divergence_is_that_of_transformers_model_with_the_part_changed(tmp_path, fields):
    checkpoint = open_checkpoint(write_model(tmp_path / "model", **fields))
    met = {}

    def meets(module, arguments):
        rows = arguments[0].flatten(0, 1)
        met[module] = (rows.T @ rows).numpy()

    model = checkpoint.reference_model()
    with torch.no_grad():
        expected = model(MEASURED).logits.double().log_softmax(-1)
    found = sensitivities(checkpoint, CALIBRATION, MEASURED, RECIPES)
    assert len(found) == 2 * 4 * 2
    for layer, part, recipe, kl in found:
        model = checkpoint.reference_model()
        module = model.transformer.h[layer].get_submodule(getattr(PARTS, part).removesuffix(".weight"))
        with torch.no_grad():
            hook = module.register_forward_pre_hook(meets)
            model(CALIBRATION)
            hook.remove()
            matrix = np.ascontiguousarray(module.weight.T.numpy())
            module.weight.copy_(torch.from_numpy(dequantize(RECIPES[recipe](matrix, met[module]))).T)
            log_q = model(MEASURED).logits.double().log_softmax(-1)
        divergence = float((expected.exp() * (expected - log_q)).sum(-1).mean())
        assert kl == pytest.approx(divergence, rel=0.02, abs=1e-7)
    coarse = {(layer, part): kl for layer, part, recipe, kl in found if recipe == "int4"}
    fine = {(layer, part): kl for layer, part, recipe, kl in found if recipe == "int8"}
    assert coarse.keys() == fine.keys() and {part for _, part in coarse} == {*Inputs._fields}
    assert all(fine[key] < coarse[key] / 10 for key in coarse)
