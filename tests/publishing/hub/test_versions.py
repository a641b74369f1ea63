"""Tests of version tags: their form and their order."""

import pytest

from diffcore_hf.publishing.hub.versions import next_version, parse_version, versions_among


@pytest.mark.parametrize(("text", "tag"), [("1.0.0", "v1.0.0"), ("v2.10.3", "v2.10.3"), ("v1.0.0-rc.1", "v1.0.0-rc.1")])
def test_a_version_has_its_tag(text, tag):
    assert parse_version(text).tag == tag


@pytest.mark.parametrize("text", ["1.0", "v1", "01.0.0", "1.0.0-", "v1.0.0+build", "latest", "", "1.0.0-01", "vv1.0.0"])
def test_a_version_that_is_not_semantic_gives_a_one_line_error(text):
    with pytest.raises(ValueError, match=r"version is .* which is not a semantic version. Use e.g. v1.0.0"):
        parse_version(text)


def test_versions_are_sorted_as_semantic_versions():
    ordered = ["v0.9.0", "v1.0.0-alpha", "v1.0.0-alpha.1", "v1.0.0-alpha.beta", "v1.0.0-beta.2", "v1.0.0-beta.11",
               "v1.0.0-rc.1", "v1.0.0", "v1.2.0", "v1.10.0"]  # fmt: skip
    mixed = [*ordered[5:], "main", "1.5.0", "v1", *ordered[:5]]
    assert [version.tag for version in versions_among(mixed)] == ordered


@pytest.mark.parametrize(
    ("existing", "proposed"), [([], "v1.0.0"), (["v1.0.0"], "v1.1.0"), (["v1.9.0", "v1.10.0-rc.1"], "v1.11.0")]
)
def test_the_next_version_is_proposed(existing, proposed):
    assert next_version(versions_among(existing)).tag == proposed
