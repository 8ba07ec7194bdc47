"""Rung 8 of the app's checks: its activities run on a JVM by Android's framework classes, alone and with LiteRT-LM."""

import pytest

# Every screen in every configuration, or an engine that writes: minutes where the machine does other things too.
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def screen_tests(app_classes, tmp_path_factory):
    """The classes of the tests on screens."""
    from check_screens import compile_screens

    return compile_screens(app_classes, tmp_path_factory.mktemp("screens"))


def test_every_screen_is_in_order_and_survives_what_android_does_to_it(app_classes, screen_tests, tmp_path):
    from check_screens import check_drawn

    check_drawn(app_classes, screen_tests, tmp_path)


def test_the_app_writes_what_litertlm_writes(app_classes, screen_tests, sample_build, tmp_path):
    from check_screens import check_end_to_end

    assert "with LiteRT-LM behind the app" in check_end_to_end(app_classes, screen_tests, tmp_path, sample_build)


def test_planted_defects_are_noticed(app_classes, screen_tests, tmp_path):
    from planted import check_planted

    check_planted(app_classes, screen_tests, tmp_path)
