from importlib import metadata

import pytest

from sentiment.errors import ModelLoadError
from sentiment.models.requirements import find_mismatches


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (f"pandas=={metadata.version('pandas')}", []),
        ("pandas>=1", []),
        ("pandas", []),
        ("pandas==1.0.0", [f"pandas==1.0.0 ({metadata.version('pandas')})"]),
        ("no-such-package>=2", ["no-such-package>=2 (not installed)"]),
        ("no-such-package>=2; python_version < '3'", []),
        ("https://example.org/pandas-1.0.0.zip", []),
        ("# of nothing", []),
    ],
)
def test_a_requirement_is_met_here_or_named_with_what_is(tmp_path, line, found):
    (tmp_path / "requirements.txt").write_text(f"numpy\n{line}\n")
    assert find_mismatches(tmp_path) == found


def test_a_model_that_states_none_has_none_missing(tmp_path):
    assert find_mismatches(tmp_path) == []


def test_a_file_that_cannot_be_read_is_an_error_that_names_it(tmp_path):
    (tmp_path / "requirements.txt").write_bytes("pandas==2 # größe".encode("latin-1"))
    with pytest.raises(ModelLoadError, match=r"requirements.txt: .* cannot be read as UTF-8"):
        find_mismatches(tmp_path)
