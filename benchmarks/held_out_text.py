"""Print the part of the standard library that the embedded sample was not trained on: the text for `verify --text`.

python benchmarks/held_out_text.py > held_out.txt
time task-bundler verify out/sample/sample.task --against gpt2_training/sample --text held_out.txt
"""

import sys

from gpt2_training.corpus import STANDARD_LIBRARY, read_corpus

if __name__ == "__main__":
    sys.stdout.write("\n".join(read_corpus(STANDARD_LIBRARY).held_out))
