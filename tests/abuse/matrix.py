"""The cells by their names, in the order in which they run."""

from tests.matrix import Cells

from . import canaries, fuzzing, hostile_models, overload, rudeness, scans

CELLS: Cells = {
    "R1": fuzzing.list_cases,
    "R4": rudeness.list_cases,
    "S2": canaries.list_cases,
    "R3": overload.list_cases,
    "S1": hostile_models.list_cases,
    "S3": scans.list_cases,
}
