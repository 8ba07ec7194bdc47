"""The two adapters of the embedded sample, and the texts they are trained on."""
