"""Rules of the benchmarks: what a result is called, what its document says, how much is measured."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from benchmarks import RESULTS, ROOT, document, pictures
from benchmarks.batch.roofline import ROWS, run_products
from benchmarks.measuring import encoders, hosting, packaged, results
from benchmarks.measuring.interleaving import fit_rows, measure_interleaved
from benchmarks.measuring.machine import Machine, read_machine
from benchmarks.training.contenders import Stopwatch, plan_gpu
from sentiment.config import FinetuneConfig

INTEL = (
    "model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz\nflags\t\t: fpu avx2 avx512f avx512_vnni\n"
)
ARM = "CPU implementer\t: 0x41\nFeatures\t: fp asimd asimddp i8mm\nCPU part\t: 0xd4f\n"
MACHINE = Machine("AMD EPYC 9B14 96-Core Processor", 2, ("avx2", "avx_vnni"), {})


def make_result(kind: str = "batch", plan: str = "full", machine: Machine = MACHINE, **sections):
    stamped = {name: {"date": "2026-01-02"} | section for name, section in sections.items()}
    of = vars(machine) | {"instruction_sets": list(machine.instruction_sets)}
    return {"kind": kind, "plan": plan, "machine": of, "versions": {"torch": "2.1"}, "sections": stamped}


def make_comparison(**changes):
    rates = dict.fromkeys(document.BATCH_NAMES, 10.0) | {"ours_spark": 50.63}
    rows = dict.fromkeys(rates, 96) | {"ours_spark": 7000}
    return {
        "rows": rows,
        "repetitions": {"ours_spark": 3},
        "tokens_per_review": 155.6,
        "rates": rates,
    } | changes


def test_a_machine_is_named_for_processor_and_best_int8_instructions():
    machine = read_machine(2, INTEL, {})
    assert machine.name == "intel-xeon-platinum-8481c-avx512_vnni"
    assert machine.instruction_sets == ("avx2", "avx512f", "avx512_vnni")
    assert MACHINE.name == "amd-epyc-9b14-avx_vnni"
    cloud = read_machine(2, "model name\t: AMD EPYC\ncpu family\t: 25\nmodel\t\t: 17\nflags\t\t: avx2\n", {})
    assert cloud.name == "amd-epyc-25-17-avx2"
    assert cloud.describe().startswith("2 cores of AMD EPYC (family 25, model 17); ")


def test_an_arm_processor_has_its_own_instruction_sets():
    assert read_machine(2, ARM, {}).instruction_sets == ("asimddp", "i8mm")
    assert read_machine(2, ARM, {}).name.endswith("0x41-0xd4f-i8mm")


def test_a_restricted_run_is_never_taken_for_the_machines_own():
    machine = read_machine(2, INTEL, {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL": ""})
    assert machine.name.endswith("-restricted-to-avx2")
    assert "RESTRICTED to AVX2 by ONEDNN_MAX_CPU_ISA, to avx2 by ATEN_CPU_CAPABILITY" in machine.describe()
    both = document.render(
        [make_result(a=make_comparison()), make_result(machine=machine, a=make_comparison())]
    )
    assert both.count("\n## ") == 2


class UnpicklableError(Exception):
    """As Spark's errors: pickled by its message, which its constructor does not take."""

    def __init__(self) -> None:
        super().__init__("no such model")


@contextmanager
def open_broken() -> Iterator[None]:
    raise UnpicklableError
    yield


def test_processes_keep_what_restricts_instruction_sets(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert hosting.run_apart(tmp_path / "log", os.getenv, "ONEDNN_MAX_CPU_ISA") == "AVX2"
    assert hosting.make_environment()["ONEDNN_MAX_CPU_ISA"] == "AVX2"  # of servers


def test_a_contender_that_cannot_start_names_its_log_and_its_error(tmp_path: Path):
    host = hosting.Hosted("peer", tmp_path / "peer.log", open_broken)
    with pytest.raises(RuntimeError, match=r"peer failed; see .*peer\.log") as error, host:
        pass
    assert "no such model" in str(error.value.__cause__)


@pytest.mark.slow
@pytest.mark.reliability
def test_our_model_of_an_encoder_with_random_weights_is_one_that_scores(tmp_path: Path):
    folder = packaged.package(encoders.build_tiny_bert(tmp_path / "tiny" / "encoder"), tmp_path / "cache")
    scored = packaged.load_model(folder).predict_columns(["A review."])
    assert scored["label"][0] in encoders.LABELS


def test_rows_fit_the_time_of_a_contender():
    assert fit_rows(2.1, 12, most=96) == 32  # never fewer: they would not have the lengths of the whole
    assert fit_rows(5.0, 12, most=96) == 60
    assert fit_rows(400.0, 12, most=96) == 96
    assert fit_rows(5.0, float("inf"), most=7_000) == 7_000  # a whole run does not bound the Spark job


def test_a_round_that_would_end_too_late_is_not_begun(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("benchmarks.measuring.interleaving.time.monotonic", lambda: now[0])

    def take(seconds: float) -> float:
        now[0] += seconds
        return 1.0

    contenders = {"slow": lambda: take(60), "fast": lambda: take(5), "once": lambda: take(5)}
    found = measure_interleaved(contenders, {"slow": 3, "fast": 3, "once": 1}, seconds=100)
    assert {name: len(rates) for name, rates in found.items()} == {"slow": 1, "fast": 3, "once": 1}


def test_products_are_counted_to_the_one_that_ends_the_pass():
    now = [0.0]

    def multiply() -> None:
        now[0] += 4.0

    rate = run_products([(100, multiply), (300, multiply)], 6.0, clock=lambda: now[0])
    assert rate == pytest.approx(2 * ROWS * 400 / 8.0 / 1e9)


def test_sections_of_other_versions_do_not_stay(tmp_path: Path, monkeypatch):
    results.record("batch", "full", MACHINE, {"skew": {"one_file": 1.0}}, tmp_path)
    path = results.record("batch", "full", MACHINE, {"parity": {"rows": 1}}, tmp_path)
    assert path.name == "batch-amd-epyc-9b14-avx_vnni.json"
    assert set(json.loads(path.read_text())["sections"]) == {"skew", "parity"}
    monkeypatch.setattr(results, "read_versions", lambda: {"torch": "3"})
    results.record("batch", "full", MACHINE, {"parity": {"rows": 1}}, tmp_path)
    assert set(json.loads(path.read_text())["sections"]) == {"parity"}


def test_a_quick_run_has_a_file_of_its_own_and_yields_to_a_full_one(tmp_path: Path):
    assert results.record("batch", "quick", MACHINE, {}, tmp_path).name.startswith("batch-quick-amd-epyc")
    full, quick = make_result(minilm=make_comparison()), make_result(plan="quick", minilm=make_comparison())
    assert "QUICK" not in document.render([full, quick])
    assert "QUICK" not in document.render([quick, full])
    assert "by a QUICK run" in document.render([quick])


def test_a_comparison_says_how_many_reviews_each_contender_got():
    shares = {"spark_to_loop": 1.009, "roofline_share": 0.754, "roofline_gops": 1965.2}
    told = document.tabulate(make_result(minilm=make_comparison(**shares)))
    assert "| reviews/s on the same cores | MiniLM, 156 tokens | ours to it | reviews measured |" in told
    assert "| **this project, Spark job** | 50.6 |  | 7,000 x 3 |" in told
    assert "| torch fp32, sorted (loop) | 10.0 | 5.06x | 96 |" in told
    assert "| bare loop to the int8 matrix products | 75% of 1,965 GOP/s |" in told
    assert "a worker is ready after" not in told  # it was not measured


def test_sections_without_a_table_are_a_line():
    pair = {"rows": 7170, "speedup": 1.85, "share_early": 0.54, "accuracy_change_points": 0.31}
    shift = {"alone_shift_p99": 0.0, "alone_shift_max": 0.0, "alone_flips": 0, "mean_shift": 0.0029}
    parity = {
        "rows": 10_000,
        "labelled_rows": 7170,
        "accuracy_loss_points": 0.014,
        "flip_share": 0.0043,
        **shift,
    }
    skew = {"one_file": 1.01, "small_files": 0.96, "long_last": 0.95}
    cascade = {"dated": pair, "clothing": pair | {"rows": 8000, "share_early": 0.52}}
    told = document.tabulate(make_result(skew=skew, parity=parity, cascade=cascade))
    assert (
        "Last task to median task: one big file 1.01, many small files 0.96, long reviews last 0.95." in told
    )
    assert "loss 0.01 points, 0.43% of labels flipped, mean shift 0.0029" in told
    assert "clothing, 8,000 reviews: 1.85 times the encoder only, 52% decided early" in told
    assert "No review was decided early" not in told
    off = cascade | {"dated": pair | {"share_early": 0.0}}
    assert "No review was decided early" in document.tabulate(make_result(cascade=off))


def test_what_was_left_out_and_a_busy_machine_are_said():
    run = {"seconds": 290, "left_out": ["minilm", "parity"], "load_before": 4.0}
    told = document.tabulate(make_result(plan="quick", run=run))
    assert "Left out, because the time was over: minilm, parity." in told
    assert "NOT QUIET: the load average was 4.0" in told


def test_scale_is_a_table_without_a_picture():
    found = {"rows_per_second": 1411.8, "driver_peak_mb": 1297.9, "worker_peak_mb": 334.6}
    scale = make_result("scale", scale={"1000000": found})
    assert "| 1,000,000 | 1,412 | 1,298 | 335 |" in document.tabulate(scale)
    assert pictures.draw(scale) is None


def test_services_are_compared_at_sixteen_clients():
    ours = {"1": {"p50_ms": 11.0}, "16": {"reviews_per_second": 97.1, "p50_ms": 150.0, "p95_ms": 301.0}}
    peer = {"16": {"reviews_per_second": 12.3, "errors": 2}}
    real = {"tokens": 154, "rows": 384, "slow_rows": 48, "loop": 113.9}
    found = make_result("online", real=real | {"contenders": {"ours": ours, "mlflow_transformers": peer}})
    told = document.tabulate(found)
    assert "| **this project, score.py --serve** | (11) | 97.1 (150, 301) |  | 384 |" in told
    assert "| mlflow models serve, transformers flavor |  | 12.3 (2 errors) | 7.89x | 48 |" in told
    assert "| the same engine in a bare loop, sorted | 113.9 | 113.9 | 0.85x | 384 |" in told


def test_training_on_a_gpu_is_told_with_the_share_of_its_peak():
    rates = {"ours": 9000.0, "ours_compiled": 12_000.0, "trainer_512": 450.0}
    of = {"tokens_per_review": 161.4, "batch_rows": 16, "rates": rates}
    shares = {"ours": 0.25, "ours_compiled": 1 / 3, "trainer_512": 0.0125}
    told = document.tabulate(make_result("training", minilm=of, distilbert=of | {"shares_of_peak": shares}))
    assert "| MiniLM, 161 tokens, 16 reviews per step | reviews/s | ours to it |\n" in told
    assert "| the same, compiled by torch | 12,000.0 | 0.75x |\n" in told
    assert "| plain Trainer, each review padded to 512 tokens | 450.0 | 20.00x | 1% |" in told


def test_only_the_last_pass_is_timed_and_a_step_that_reports_twice_counts_once():
    watch = Stopwatch()
    for step in (0, 0, 1, 2, 2, 3, 4):
        watch.mark(step, 4, "")
    assert len(watch.marks) == 5
    watch.marks = [0.0, 10.0, 20.0, 21.0, 22.0]
    assert watch.rate(100, passes=2) == 50.0
    assert watch.rate(110) == 5.0


def test_a_gpu_trains_by_its_recipe():
    recipe = FinetuneConfig(**yaml.safe_load((ROOT / "conf" / "finetune-gpu.yaml").read_text()))
    assert plan_gpu().ours["ours"] == {"train_tokens": recipe.train_tokens}


def test_a_picture_shows_the_rates(tmp_path: Path):
    (axes,) = pictures.draw(make_result(minilm=make_comparison())).axes
    assert {label.get_text() for label in axes.texts} == {" 10.0", " 50.6"}
    assert pictures.draw(make_result(run={"seconds": 3})) is None


def test_the_document_is_what_the_results_say():
    found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    assert document.DOCUMENT.read_text() == document.render(found)
