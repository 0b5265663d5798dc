"""Run and export an encoder before it is trained, because training takes hours and these take seconds."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ..errors import EncoderUnavailableError
from ..inference.engines import REFERENCE, load_engine
from ..inference.tokenization import Tokenizer
from .encoders import Encoder
from .export import export_graph
from .packaging import save_encoder

_SHORT, _LONG = "good", "The battery is good, and I love it. "
# The rounding of float32 is a hundred times smaller; a result that reads padding differs by far more.
_TOLERANCE = 1e-3


def rehearse(encoder: Encoder, max_length: int, truncation: str) -> str | None:
    """Check the scores, and export the graph; return why it cannot be exported, None if it can.

    Raises the errors of `check_scores`.
    """
    with TemporaryDirectory(prefix="sentiment-") as scratch:
        folder = Path(scratch) / "encoder"
        save_encoder(encoder, folder, max_length, truncation)
        check_scores(encoder, folder, truncation)
        try:
            export_graph(folder)
        except EncoderUnavailableError as error:
            return str(error)
    return None


def check_scores(encoder: Encoder, folder: Path, truncation: str) -> None:
    """Score a short and a long text with the encoder, which has been saved in `folder`.

    Raises EncoderUnavailableError if the encoder fails, its scores are not finite, or they depend on the
    padding.
    """
    tokenizer = Tokenizer(folder, truncation)
    tokens = tokenizer.encode([_SHORT, _LONG * tokenizer.max_length])
    engine = load_engine(folder, REFERENCE)
    # The code of the encoder may raise anything.
    try:
        together, alone = engine.classify(tokens.ids), engine.classify(tokens.ids[:1])
    except Exception as error:
        raise EncoderUnavailableError(
            f"encoder {encoder.name!r} fails on a text of {tokens.lengths[1]} tokens "
            f"({type(error).__name__}); pass a smaller --max_length or another --distilbert_model"
        ) from error
    if not np.isfinite(together).all():
        raise EncoderUnavailableError(
            f"encoder {encoder.name!r}: its scores are not finite numbers; its weights may be damaged; pass "
            "another --distilbert_model"
        )
    if not np.allclose(together[0], alone[0], atol=_TOLERANCE):
        raise EncoderUnavailableError(
            f"encoder {encoder.name!r} (type {encoder.model.config.model_type}): its scores depend on "
            "the padding to the right of a text, which it should ignore; pass another --distilbert_model"
        )
