"""LoRA adapters for GPT-2: PEFT folders in, adapter files out; training, merging, and the comparison with full
fine-tuning.
"""
