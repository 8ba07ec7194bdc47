"""The check of regular expressions, held against LiteRT-LM: what it refuses ends the engine, and what known tokenizers
use passes.
"""

import json
import subprocess
import sys

import pytest
from planted_tokenizers import splitting, with_tokenizer_json

from bundler.doctor.regex_syntax import refusal

# Of GPT-2, GPT-4 and Llama 3, o200k, DeepSeek, and pieces of others.
SOUND = [
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t)?|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|[一-龥぀-ゟ゠-ヿ]+""",
    r"(?<=\d)(?=(?:\d{3})+(?!\d))|(?<!a|bc)d| {2,}|a++|b*?+|[^\S\r\n]+|[]a]|[a-z&&[^b]]|[a[b]]|[a-z-9]|{2}|"
    r"a{,2}|a{2,1}|]|}|(a)\1|(?<n>a)\k<n>",
    r"(?>a)|(?P<n>b)(?=c)|\x41\x{1F600}\u0041\U0001F600|\h\R\N\O|\p{Script=Greek}\p{Han}\p{^L}\P{L}\pN|(?i)a|"
    r"(?is-m:b)|(?x) a # comment (",
]
REFUSED = [
    r"(",
    r"a)",
    r"[a",
    r"[]",
    r"*",
    r"a|*",
    r"(?:+)",
    r"(?=a)*",
    r"a**",
    r"a+*",
    r"a{2}*",
    r"a*??",
    "\\",
    r"\X",
    r"\Q*\E",
    r"[\N]",
    r"(?|a)",
    r"(?1)",
    r"(?&a)",
    r"(?)a",
    r"(?P<n>a",
    r"\1",
    r"(a)\2",
    r"\0",
    r"\x4",
    r"\u00",
    r"\x{110000}",
    r"\ud800",
    r"\p",
    r"\p{L",
    r"\p{}",
    r"\pQ",
    r"\p{Nope}",
    r"[z-a]",
    r"a{99999999999}",
]
# A process for each, because the engine ends it; the library is loaded once.
PROGRAM = """
import json, os, sys, tempfile, litert_lm
codes = []
for path in sys.argv[1:]:
    if not (child := os.fork()):
        cpu = litert_lm.Backend.CPU(thread_count=1)
        with tempfile.TemporaryDirectory() as cache, litert_lm.Engine(path, backend=cpu, cache_dir=cache) as engine:
            engine.tokenize("def f(x): 12")
        os._exit(0)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(codes))
"""


@pytest.mark.parametrize("pattern", SOUND)
def test_what_known_tokenizers_use_passes(pattern):
    assert refusal(pattern) == ""


@pytest.mark.parametrize("pattern", REFUSED)
def test_what_is_certain_to_be_refused_is_told(pattern):
    assert refusal(pattern)


def test_a_pattern_without_end_is_not_followed():
    assert refusal("(" * 10_000_000) == ""


def test_the_engine_agrees(good, tmp_path):
    files = []
    for number, pattern in enumerate([*SOUND, *REFUSED]):
        (tmp_path / str(number)).mkdir()
        files.append(str(with_tokenizer_json(good, tmp_path / str(number), splitting(pattern))))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *files], capture_output=True, text=True, errors="replace", timeout=300
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [0] * len(SOUND) + [-6] * len(REFUSED), done.stderr[-2000:]
