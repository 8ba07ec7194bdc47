"""GPT-2's byte-level BPE as a SentencePiece model with the same ids, and the report that proves it."""
