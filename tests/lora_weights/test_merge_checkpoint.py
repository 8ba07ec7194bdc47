"""A merged checkpoint computes what peft computes with the adapter beside the weights, or is not written."""

import pytest
import torch
from peft_folders import tiny_model, write_adapter
from transformers import GPT2LMHeadModel, PreTrainedModel

import lora_weights.merge_checkpoint
from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.commands.cli import run
from bundler.errors import VerificationError
from bundler.lora.merge_checkpoint import merge_checkpoint_folder
from bundler.pipeline.build import build
from bundler.pipeline.plan import BuildOptions
from lora_weights.errors import LoraError
from lora_weights.merge_checkpoint import merge_into_checkpoint, sample_logits

ATTENTION = ["attn.c_attn", "attn.c_proj"]
EMBEDDINGS = ["wte", "lm_head"]


def adapter_of(folder, model, **options):
    """A PEFT folder in which everything that can be trained is random, and the logits of peft's model with it."""
    adapted = write_adapter(folder, model, **options)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    adapted.save_pretrained(folder)
    return sample_logits(adapted)


@pytest.mark.parametrize(
    "options, tied",
    [
        ({}, True),
        ({"use_dora": True}, True),
        ({"use_rslora": True}, True),
        ({"target_modules": ["c_fc", "c_proj"]}, True),
        ({"bias": "all"}, True),
        ({"target_modules": ["wte"]}, False),
        ({"target_modules": ["lm_head"]}, False),
        ({"target_modules": EMBEDDINGS}, False),
        ({"target_modules": [*ATTENTION, *EMBEDDINGS], "use_dora": True}, False),
        ({"target_modules": EMBEDDINGS, "use_rslora": True}, False),
        ({"modules_to_save": ["ln_f", "wpe"]}, True),
        ({"modules_to_save": ["wte"]}, False),
        ({"modules_to_save": ["lm_head"]}, False),
        ({"modules_to_save": EMBEDDINGS}, False),
        ({"modules_to_save": EMBEDDINGS, "ensure_weight_tying": True}, True),
        ({"trainable_token_indices": [1, 5, 9]}, True),
    ],
    ids=str,
)
def test_logits_are_those_of_peft_before_merging(tiny_checkpoint, tmp_path, options, tied):
    expected = adapter_of(tmp_path / "adapter", open_checkpoint(tiny_checkpoint).reference_model(), **options)
    (tmp_path / "merged").mkdir()
    merge_checkpoint_folder(str(tiny_checkpoint), [tmp_path / "adapter"], tmp_path / "merged")
    merged = open_checkpoint(tmp_path / "merged")
    assert (sample_logits(merged.reference_model()) - expected).abs().max() < 1e-4
    assert merged.architecture.tied_head is tied and ("lm_head.weight" in merged.names()) is not tied


def test_a_head_that_was_not_tied_stays_so(tmp_path):
    model = tiny_model(tie_word_embeddings=False)
    expected = adapter_of(tmp_path, tiny_model(tie_word_embeddings=False), target_modules=["wte"])
    merged = merge_into_checkpoint(model, tmp_path)
    assert (sample_logits(merged) - expected).abs().max() < 1e-4 and not merged.config.tie_word_embeddings


def test_a_model_with_an_adapter_in_its_embeddings_is_built(tiny_checkpoint, tmp_path):
    adapter_of(tmp_path / "adapter", open_checkpoint(tiny_checkpoint).reference_model(), target_modules=EMBEDDINGS)
    assert (
        run(
            [
                "lora",
                "merge",
                str(tiny_checkpoint),
                str(tmp_path / "adapter"),
                "-o",
                str(tmp_path / "merged"),
                "--quiet",
            ]
        )
        == 0
    )
    manifest = build(BuildOptions(str(tmp_path / "merged"), tmp_path / "bundle", recipe="fp32"))
    assert manifest["verified"] and not manifest["architecture"]["tied_head"]


def test_a_merge_that_changes_the_logits_writes_nothing(tiny_checkpoint, tmp_path, monkeypatch, capsys):
    """peft's own merge adds the embedding's change to a tied head too."""
    monkeypatch.setattr(lora_weights.merge_checkpoint, "_untie", lambda model: None)
    adapter_of(tmp_path / "adapter", open_checkpoint(tiny_checkpoint).reference_model(), target_modules=["wte"])
    assert (
        run(
            [
                "lora",
                "merge",
                str(tiny_checkpoint),
                str(tmp_path / "adapter"),
                "-o",
                str(tmp_path / "merged"),
                "--quiet",
            ]
        )
        == 1
    )
    assert "away from those it gives beside them" in capsys.readouterr().err and not (tmp_path / "merged").exists()


def test_a_checkpoint_that_is_not_what_was_merged_fails(tiny_checkpoint, tmp_path, monkeypatch):
    """As a library would save it that takes the head for tied still."""

    def save_as_tied(self, folder):
        self.lm_head.weight = self.transformer.wte.weight
        self.config.tie_word_embeddings = True
        PreTrainedModel.save_pretrained(self, folder)

    adapter_of(tmp_path / "adapter", open_checkpoint(tiny_checkpoint).reference_model(), target_modules=["lm_head"])
    monkeypatch.setattr(GPT2LMHeadModel, "save_pretrained", save_as_tied)
    (tmp_path / "merged").mkdir()
    with pytest.raises(VerificationError, match="read again"):
        merge_checkpoint_folder(str(tiny_checkpoint), [tmp_path / "adapter"], tmp_path / "merged")


def test_an_adapter_too_strong_for_float32_is_refused(tmp_path):
    adapted = write_adapter(tmp_path)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.fill_(1e30)
    adapted.save_pretrained(tmp_path)
    with pytest.raises(LoraError, match="NaN or infinite"):
        merge_into_checkpoint(tiny_model(), tmp_path)
