"""The guided tour runs, learns something and registers its model; it is committed without output."""

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

HOME = Path(__file__).resolve().parents[2]
NOTEBOOK = HOME / "notebooks" / "finetune.ipynb"
SECONDS_PER_CELL = 180
PROBE = """
import json
print(json.dumps({
    "tuned": evaluation.accuracy,
    "majority": baselines["majority"].accuracy,
    "untuned_roc_auc": before.roc_auc,
    "shared": int(
        describe_splits(reviews.splits, reviews.label_names)[["shared_texts", "shared_groups"]].sum().sum()
    ),
    "same": model.predict(pd.DataFrame({"text": SENTENCES})).equals(
        tuned.predict(SENTENCES).drop(columns="probabilities")
    ),
    "uri": logged.registered_uri,
}))
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URI of an MLflow store of this module's own."""
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


@pytest.fixture(scope="module")
def tour(store: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run the notebook in the root of the repository, with an extra last cell that prints its results."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(PROBE, id="probe"))
    folder = tmp_path_factory.mktemp("jupyter")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store)
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "runtime"))
        # Spinning threads would take minutes while other tests use the cores.
        patch.setenv("OMP_NUM_THREADS", "1")
        _execute(notebook, folder / "kernels")
    return notebook


def _execute(notebook: Any, kernels: Path) -> None:
    """Run the cells in a kernel of this interpreter, whatever kernels the machine has installed."""
    from ipykernel.kernelspec import write_kernel_spec
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import KernelManager
    from nbclient import NotebookClient

    write_kernel_spec(str(kernels / "tour"))
    specs = KernelSpecManager(kernel_dirs=[str(kernels)])
    kernel = KernelManager(kernel_name="tour", kernel_spec_manager=specs)
    where = {"metadata": {"path": str(HOME)}}
    try:
        NotebookClient(notebook, km=kernel, timeout=SECONDS_PER_CELL, resources=where).execute()
    finally:  # the client ends no kernel that it was given, and this one holds over a GB
        kernel.shutdown_kernel(now=True)


def _outputs(notebook: Any, cell_id: str) -> list[Any]:
    return next(list(cell.outputs) for cell in notebook.cells if cell.id == cell_id)


def _printed(notebook: Any, cell_id: str) -> str:
    return "".join(output.text for output in _outputs(notebook, cell_id) if output.get("name") == "stdout")


def test_tuned_encoder_beats_the_majority_and_the_untuned_one_is_near_chance(tour: Any) -> None:
    found = json.loads(_printed(tour, "probe"))

    assert found["tuned"] > found["majority"] + 0.05
    assert abs(found["untuned_roc_auc"] - 0.5) < 0.15


def test_no_text_or_review_is_in_two_splits(tour: Any) -> None:
    assert json.loads(_printed(tour, "probe"))["shared"] == 0


def test_loaded_pyfunc_answers_as_the_tested_model(tour: Any) -> None:
    assert json.loads(_printed(tour, "probe"))["same"] is True


def test_model_is_registered_in_the_preset_store_under_a_name_of_its_own(tour: Any, store: str) -> None:
    from mlflow import MlflowClient

    registered = MlflowClient(tracking_uri=store, registry_uri=store).search_model_versions()

    assert [(model.name, str(model.version)) for model in registered] == [("sentiment_tour", "1")]
    assert json.loads(_printed(tour, "probe"))["uri"] == "models:/sentiment_tour/1"
    assert store in _printed(tour, "setup")


def test_tour_shows_its_pictures(tour: Any) -> None:
    pictured = {
        cell.id
        for cell in tour.cells
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
    }

    assert pictured == {"data-figure", "tuning-run", "evaluation-figure"}


def test_notebook_is_committed_without_outputs() -> None:
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]

    assert cells
    assert [cell.id for cell in cells if cell.outputs or cell.execution_count is not None] == []
