"""The last layer computed only for first tokens: the same logits with less work."""

import pytest
import torch
from transformers import AutoConfig

from sentiment.inference.engines.first_token import (
    FIRST_TOKEN_TYPES,
    get_stack,
    narrow_last_layer,
    reads_first_token,
    take_first_column,
)
from sentiment.inference.engines.reference import load_classifier
from tests.unit.inference.test_packed import make_classifier, make_rows


@pytest.mark.parametrize("model_type", sorted(FIRST_TOKEN_TYPES))
def test_a_classifier_says_what_it_said_and_its_last_layer_reads_one_query_a_row(tmp_path, model_type):
    model = load_classifier(make_classifier(tmp_path, model_type))
    assert reads_first_token(model.config)
    rows = make_rows()
    ids = torch.full((len(rows), max(map(len, rows))), model.config.pad_token_id)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.from_numpy(row)
        mask[i, : len(row)] = 1
    shapes = {}

    def note(name):
        return lambda _module, inputs, _output: shapes.setdefault(name, []).append(tuple(inputs[0].shape))

    with torch.inference_mode():
        expected = model(input_ids=ids, attention_mask=mask).logits
        unmasked = model(input_ids=ids[:1]).logits
        narrow_last_layer(model, take_first_column)
        for number, layer in enumerate(get_stack(model).layer):
            for name, module in layer.named_modules():
                if isinstance(module, torch.nn.Linear):
                    module.register_forward_hook(note((number, name.rpartition(".")[2])))
        found = model(input_ids=ids, attention_mask=mask).logits
        assert expected.std() > 0.1, "rows that score alike would prove nothing"
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(model(input_ids=ids[:1]).logits, unmasked, rtol=0, atol=1e-5)
    widths = {key: {shape[1] for shape in found} for key, found in shapes.items()}
    n_tokens = ids.shape[1]
    assert all(width == {n_tokens} for (number, _), width in widths.items() if number == 0)
    whole = {name for (number, name), width in widths.items() if number == 1 and width == {n_tokens}}
    assert whole in ({"k_lin", "v_lin"}, {"key", "value"})
    assert all(width == {1} for (number, name), width in widths.items() if number == 1 and name not in whole)


@pytest.mark.parametrize(
    "config",
    [
        AutoConfig.for_model("mpnet"),
        AutoConfig.for_model("deberta-v2"),
        AutoConfig.for_model("bert", is_decoder=True),
    ],
)
def test_an_encoder_that_is_built_otherwise_is_left_whole(config):
    assert not reads_first_token(config)
