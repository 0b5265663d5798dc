"""Score real reviews once with a given model, as they are and changed, and keep the rows without texts."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sentiment import schema
from sentiment.evaluation.profile import IS_RIGHT, describe_texts
from sentiment.models.loading import LoadedModel
from sentiment.models.predictions import predict_each

from ..measuring.corpus import CLOTHING, DATA, DATED

CUT, UPPER, FOREIGN = "cut", "upper", "foreign"
CHANGED_ROWS, KEPT_SHARE = 2_500, 0.3
_CHUNK = 1_000
# Written for this benchmark.
FOREIGN_TEXTS = (
    "El producto llegó roto y nadie responde a mis correos.",
    "Muy contento con la compra, funciona perfectamente.",
    "La batería dura apenas dos horas, una decepción total.",
    "Excelente calidad por el precio, lo recomiendo sin dudar.",
    "El libro es aburrido y está mal traducido.",
    "A mis hijos les encanta, lo usan todos los días.",
    "No compren esta cafetera, gotea desde el primer día.",
    "Llegó antes de lo previsto y muy bien embalado.",
    "La talla no corresponde y el color es distinto al de la foto.",
    "Una película preciosa, la he visto ya tres veces.",
    "El sonido es pésimo y los auriculares hacen daño.",
    "Se rompió a la semana y no me devuelven el dinero.",
    "Esperaba más de esta marca, el plástico parece barato.",
    "Un regalo ideal, mi madre está encantada.",
    "Perdí el tiempo leyendo esta novela sin final.",
    "Es la mejor mochila que he tenido en años.",
    "Das Gerät war nach zwei Tagen kaputt, sehr ärgerlich.",
    "Bin rundum zufrieden, schnelle Lieferung und gute Qualität.",
    "Der Akku hält kaum eine Stunde, nicht zu empfehlen.",
    "Ein wunderbares Buch, ich konnte es nicht weglegen.",
    "Die Verarbeitung ist schlecht und der Kundendienst antwortet nicht.",
    "Meine Tochter liebt die Puppe, ein tolles Geschenk.",
    "Das Kleid fällt zu klein aus und die Naht ist gerissen.",
    "Läuft leise, sieht gut aus und war leicht aufzubauen.",
    "Nie wieder, das Geld hätte ich mir sparen können.",
    "Der Film ist spannend bis zur letzten Minute.",
    "Die Kaffeemaschine tropft und macht lauten Lärm.",
    "Leider fehlten zwei Schrauben und die Anleitung ist unverständlich.",
    "Die Pfanne ist nach einem Monat verkratzt.",
    "Der Verkäufer hat das falsche Modell geschickt.",
    "Seit einem Jahr täglich im Einsatz, keine Probleme.",
    "Totaler Schrott, ging zurück.",
)


def load_scored(model: LoadedModel, version: str, folder: Path) -> dict[str, pd.DataFrame]:
    """Return the scored rows of each set; those that an earlier run scored with this model are used again."""
    dated, clothing = (_join_title(pd.read_parquet(DATA / f"{name}.parquet")) for name in (DATED, CLOTHING))
    some = dated.sample(CHANGED_ROWS, random_state=1)
    texts = some[schema.TEXT]
    sets = {
        DATED: dated.assign(group=dated["category"], year=dated["review_date"].astype(str).str[:4]),
        CLOTHING: clothing.assign(group=CLOTHING, year=""),
        CUT: some.assign(text=[text[: max(1, int(KEPT_SHARE * len(text)))] for text in texts]),
        UPPER: some.assign(text=texts.str.upper()),
        FOREIGN: pd.DataFrame({schema.TEXT: FOREIGN_TEXTS}),
    }
    return {
        name: _score(model, rows, folder / f"monitoring-{version}-{name}.parquet")
        for name, rows in sets.items()
    }


def _join_title(reviews: pd.DataFrame) -> pd.DataFrame:
    """Return the reviews with title and text in one column, as models are trained on them."""
    text = reviews["title"].fillna("") + schema.TEXT_JOINER + reviews["text"].fillna("")
    return reviews.assign(text=text.str.strip())


def _score(model: LoadedModel, reviews: pd.DataFrame, cached: Path) -> pd.DataFrame:
    if cached.exists():
        return pd.read_parquet(cached)
    reviews = reviews.reset_index(drop=True)
    texts = reviews[schema.TEXT]
    parts = [
        predict_each(model, texts[start : start + _CHUNK].tolist()) for start in range(0, len(texts), _CHUNK)
    ]
    figures = [pd.concat(parts, ignore_index=True), describe_texts(texts)]
    digests = pd.util.hash_pandas_object(texts, index=False).astype("int64")
    rows = pd.concat(figures, axis=1).assign(**{schema.TEXT_DIGEST: digests})
    for name in ("group", "year"):
        rows[name] = reviews.get(name, "")
    rows["truth"] = _name(reviews["label"], model.labels) if "label" in reviews else None
    cached.parent.mkdir(parents=True, exist_ok=True)
    rows.to_parquet(cached)
    return rows


def _name(labels: "pd.Series[float]", names: Sequence[str]) -> "pd.Series[str]":
    return labels.map(dict(enumerate(names)))


def pick_labelled(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with a true label and a predicted one, with the column `is_right`."""
    known = rows[rows["truth"].notna() & rows[schema.LABEL].notna()]
    return known.assign(**{IS_RIGHT: known["truth"] == known[schema.LABEL]}).reset_index(drop=True)
