"""The test vectors in the repository are what this code writes: a change of format or arithmetic shows here."""

from make_vectors import FOLDER, make_vectors


def test_vectors_are_reproduced_byte_for_byte(tmp_path):
    make_vectors(tmp_path)
    kept = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept
    assert len(kept) == 9 and sum(map(len, kept.values())) < 200_000
