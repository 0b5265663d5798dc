"""Check the tokenizer of an encoder, and prepare it so that a text has the same tokens in each call."""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ..errors import EncoderUnavailableError
from ..inference.tokenization import TOKENIZER_FILE, make_exact

# Without punctuation, which a tokenizer that knows no word may know.
_SENTENCE = "The battery is good and I love it"
# Texts whose tokens depend on case, accents, punctuation, hyphens, digits and symbols.
_TEXTS = (
    "The BATTERY of my Phone is Great",
    "A naïve café in Zürich",
    "It's good, isn't it? (Yes!)",
    "a well-made screen",
    "I paid 25 for 10 in 2024.",
    "i love it 😀",
)
# Types that were trained with a first and a last special token around each text.
_MARKED_TYPES = frozenset(
    {"albert", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "modernbert", "mpnet"}
    | {"roberta", "xlm-roberta"}
)


def prepare_tokenizer(
    name: str, source: str | Path, options: dict[str, Any], model: Any, tokenizer: Any
) -> tuple[str, ...]:
    """Check that a tokenizer fits its encoder; return notes on what was switched off, and on another file.

    `source` and `options` are what it was loaded with. Sets `pad_token_id` of the model's config, which some
    encoders lack; padding is masked in any case. Raises EncoderUnavailableError if the tokenizer is not fast,
    knows no word, has too many tokens, or lacks special tokens.
    """
    if not tokenizer.is_fast:
        raise EncoderUnavailableError(
            f"encoder {name!r} has no fast tokenizer (tokenizer.json); choose another --distilbert_model"
        )
    was_exact = make_exact(tokenizer.backend_tokenizer)
    file = _find_file(str(source), options)
    notes = () if file is None else _compare_with_file(name, file, tokenizer)
    _check_vocabulary(name, model, tokenizer)
    _check_special_tokens(name, model, tokenizer)
    _set_pad_id(model, tokenizer)
    if was_exact:
        return notes
    return (
        *notes,
        f"the tokenizer of {name} draws the tokens of a text at random (dropout); this was switched off, so "
        "that a text always has the same label",
    )


def _find_file(source: str, options: dict[str, Any]) -> Path | None:
    """Return the tokenizer.json of a folder, or of a model of the hub; None if there is none."""
    from transformers.utils import cached_file

    if Path(source).is_dir():
        file = Path(source) / TOKENIZER_FILE
        return file if file.is_file() else None
    try:
        return Path(cached_file(source, TOKENIZER_FILE, local_files_only=options["local_files_only"]))
    except OSError:
        return None


def _compare_with_file(name: str, file: Path, tokenizer: Any) -> tuple[str, ...]:
    """Return a note if texts have other tokens than tokenizer.json gives them.

    For some types transformers builds the tokenizer again, from the vocabulary and tokenizer_config.json. So
    does whoever trains with it; therefore it is no error. Special tokens are not compared: many a file lacks
    those that its class adds.
    """
    stated, loaded = _copy(Tokenizer.from_file(str(file))), _copy(tokenizer.backend_tokenizer)
    for text in _TEXTS:
        expected, found = (each.encode(text, add_special_tokens=False) for each in (stated, loaded))
        if expected.ids != found.ids:
            note = (
                f"transformers ({type(tokenizer).__name__}) reads {text!r} in other tokens than the "
                f"tokenizer.json of {name}: {_show(found)}, and not {_show(expected)}; if the encoder was "
                "trained with the latter, correct do_lower_case, strip_accents or tokenizer_class in its "
                'tokenizer_config.json ("tokenizer_class": "PreTrainedTokenizerFast" uses the file as it is)'
            )
            return (note,)
    return ()


def _copy(tokenizer: Tokenizer) -> Tokenizer:
    """Return a copy that neither cuts nor pads, and draws nothing."""
    copied = Tokenizer.from_str(tokenizer.to_str())
    copied.no_truncation()
    copied.no_padding()
    make_exact(copied)
    return copied


def _show(encoding: Any) -> str:
    return " ".join(encoding.tokens) or "no tokens"


def _check_vocabulary(name: str, model: Any, tokenizer: Any) -> None:
    ids = tokenizer(_SENTENCE, add_special_tokens=False)["input_ids"]
    if set(ids) <= {tokenizer.unk_token_id}:
        raise EncoderUnavailableError(
            f"encoder {name!r}: its tokenizer knows no word of an English sentence; expected a folder with "
            "its tokenizer.json or vocabulary; pass another --distilbert_model"
        )
    n_tokens = 1 + max(tokenizer.get_vocab().values())
    n_rows = model.get_input_embeddings().weight.shape[0]
    if n_tokens > n_rows:
        raise EncoderUnavailableError(
            f"encoder {name!r}: its tokenizer has {n_tokens:,} tokens, but its embedding only {n_rows:,} "
            f"rows; use its own tokenizer, or save the encoder after resize_token_embeddings({n_tokens})"
        )


def _check_special_tokens(name: str, model: Any, tokenizer: Any) -> None:
    kind = model.config.model_type
    is_special = _copy(tokenizer.backend_tokenizer).encode(_SENTENCE).special_tokens_mask
    if kind in _MARKED_TYPES and not (is_special[0] and is_special[-1]):
        raise EncoderUnavailableError(
            f"encoder {name!r}: its tokenizer adds no special token {'after' if is_special[0] else 'before'} "
            f"a text, expected one before and one after it, such as [CLS] and [SEP], for an encoder of type "
            f"{kind}; correct the post_processor in its tokenizer.json, or use its own tokenizer"
        )


def _set_pad_id(model: Any, tokenizer: Any) -> None:
    n_rows = model.get_input_embeddings().weight.shape[0]
    stated = (model.config.pad_token_id, tokenizer.pad_token_id, model.config.eos_token_id)
    candidates = [i for i in (*stated, tokenizer.eos_token_id) if isinstance(i, int) and 0 <= i < n_rows]
    model.config.pad_token_id = next(iter(candidates), 0)
