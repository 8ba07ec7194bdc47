"""What is in a bundle, model, adapter or tokenizer of any maker, and what an engine would say of it; see
docs/FINDINGS.md.
"""
