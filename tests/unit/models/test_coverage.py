import pytest

from sentiment.errors import ConfigError
from sentiment.models.coverage import check_target_accuracy
from tests.factories import make_tiny_encoder


def test_an_accuracy_that_the_model_did_not_prove_is_refused_before_it_is_loaded(tmp_path):
    make_tiny_encoder(tmp_path / "artifacts" / "encoder", max_length=16)
    check_target_accuracy(tmp_path, None)
    with pytest.raises(ConfigError, match="no accuracy of this model was measured"):
        check_target_accuracy(tmp_path, 0.9)
    with pytest.raises(ConfigError, match="states no accuracy"):
        check_target_accuracy(tmp_path / "nothing", 0.9)
    (tmp_path / "artifacts" / "encoder" / "inference.json").write_text('{"cpu_engine": "int8"}')
    with pytest.raises(ConfigError, match="an earlier model"):
        check_target_accuracy(tmp_path, 0.9)
