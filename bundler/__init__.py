"""GPT-2 checkpoint -> TFLite -> MediaPipe `.task` and LiteRT-LM `.litertlm`, verified on the host."""
