"""Small GPT-2s from scratch: corpus, byte-level BPE, pretraining, sampling, perplexity."""
