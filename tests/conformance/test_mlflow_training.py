"""Autologging as MLflow's deep learning integrations do it: queues that flush from threads, metrics in batches.

MLflow's callback for PyTorch Lightning creates a run with a queueing client, logs params from it while the training
goes on, and metrics at each end of an epoch through a batch logger. The same is done here with a small model of NumPy,
since Lightning itself needs several gigabytes where PyTorch comes with CUDA; where it is installed it is tried, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.tracking import fluent
from mlflow.utils.autologging_utils import BatchMetricsLogger, batch_metrics_logger
from mlflow.utils.autologging_utils.client import MlflowAutologgingQueueingClient

from localtrack import Store
from localtrack.mlflow_plugin.opened import open_store

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries that are driven here

EPOCHS_COUNT = 6
BATCHES_COUNT = 40


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)
    folder = tmp_path / "store"
    fluent._active_experiment_id = None
    mlflow.set_tracking_uri(f"localtrack://{folder}")
    yield folder
    mlflow.autolog(disable=True, silent=True)
    mlflow.set_tracking_uri(None)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)
    fluent._active_experiment_id = None
    opened = open_store(str(folder))
    opened.writers.close()
    opened.store.close()
    with Store.open(folder, create=False) as store:
        assert store.check().findings == []


class Trainer:
    """Logistic regression by gradient descent, with the hooks of a trainer."""

    def __init__(self, rate: float, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.rate = rate
        self.features = random.normal(size=(400, 3))
        self.labels = (self.features @ [1.0, -2.0, 0.5] > 0).astype(float)
        self.weights = np.zeros(3)

    def loss_of(self, rows: slice) -> float:
        odds = 1 / (1 + np.exp(-self.features[rows] @ self.weights))
        odds = np.clip(odds, 1e-9, 1 - 1e-9)
        labels = self.labels[rows]
        self.gradient = self.features[rows].T @ (odds - labels) / len(labels)
        return float(-np.mean(labels * np.log(odds) + (1 - labels) * np.log(1 - odds)))

    def fit(self, callback: Any) -> None:
        callback.on_fit_start(self)
        for epoch in range(EPOCHS_COUNT):
            for batch in range(BATCHES_COUNT):
                loss = self.loss_of(slice(batch * 10, batch * 10 + 10))
                self.weights -= self.rate * self.gradient
                callback.on_train_batch_end(self, loss, epoch * BATCHES_COUNT + batch)
            callback.on_train_epoch_end(self, self.loss_of(slice(None)), epoch)
        callback.on_fit_end(self)


class Callback:
    """What MLflow's callback of an autologged trainer does with its clients; it also keeps what it was told."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.client = MlflowAutologgingQueueingClient()
        self.metrics = BatchMetricsLogger(run_id)
        self.seen: dict[str, list[tuple[int, float]]] = {"train_loss": [], "train_loss_step": []}

    def on_fit_start(self, trainer: Trainer) -> None:
        params = {f"layer {number}": number for number in range(250)}  # more than one batch holds
        self.client.log_params(self.run_id, {"rate": trainer.rate, **params, "summary": "x" * 7_000})
        self.client.set_tags(self.run_id, {"mlflow.autologging": "numpy"})
        self.client.flush(synchronous=False)

    def on_train_batch_end(self, trainer: Trainer, loss: float, step: int) -> None:
        self._record("train_loss_step", step, loss)

    def on_train_epoch_end(self, trainer: Trainer, loss: float, epoch: int) -> None:
        self._record("train_loss", epoch, loss)
        self.client.log_metrics(self.run_id, {"queued": loss}, step=epoch)
        self.client.flush(synchronous=False)

    def on_fit_end(self, trainer: Trainer) -> None:
        self.metrics.flush()
        self.client.set_terminated(self.run_id)
        self.client.flush(synchronous=True)

    def _record(self, key: str, step: int, value: float) -> None:
        self.metrics.record_metrics({key: value}, step)
        self.seen[key].append((step, value))


def train(parent_id: str, experiment_id: str, seed: int) -> Callback:
    tags = {"mlflow.parentRunId": parent_id, "mlflow.runName": f"seed {seed}"}
    run = MlflowClient().create_run(experiment_id, tags=tags)
    callback = Callback(run.info.run_id)
    Trainer(0.1 * (seed + 1), seed).fit(callback)
    return callback


def test_trainers_that_log_in_parallel_from_queues_lose_nothing(folder: Path) -> None:
    experiment = mlflow.set_experiment("training")
    with mlflow.start_run(run_name="search") as parent, ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: train(parent.info.run_id, experiment.experiment_id, n), range(6)))
    # Runs that the queue itself makes, as those of a grid search are made.
    with MlflowAutologgingQueueingClient() as client:
        for number in range(5):
            pending = client.create_run(
                experiment.experiment_id, tags={"mlflow.parentRunId": parent.info.run_id, "n": number}
            )
            client.log_params(pending, {"C": number})
            client.log_metrics(pending, {"score": number / 10}, step=number)
            client.set_terminated(pending, status="FINISHED")
    client = MlflowClient()
    for seed, callback in enumerate(found):
        run = client.get_run(callback.run_id)
        assert run.info.status == "FINISHED"
        assert len(run.data.params) == 252
        assert run.data.params["rate"] == str(0.1 * (seed + 1))
        assert len(run.data.params["summary"]) == 6_000
        for key, seen in {**callback.seen, "queued": callback.seen["train_loss"]}.items():
            history = client.get_metric_history(callback.run_id, key)
            assert sorted((point.step, point.value) for point in history) == seen, key
    children = client.search_runs(
        [experiment.experiment_id],
        f"tags.`mlflow.parentRunId` = '{parent.info.run_id}' AND attributes.status = 'FINISHED'",
    )
    assert len(children) == 11
    assert sorted(run.data.metrics["score"] for run in children if "score" in run.data.metrics) == [
        number / 10 for number in range(5)
    ]


def test_metrics_in_batches_reach_the_active_run_and_its_model(folder: Path) -> None:
    mlflow.set_experiment("training")
    with mlflow.start_run() as run:
        model = mlflow.initialize_logged_model("net", source_run_id=run.info.run_id)
        with batch_metrics_logger(run.info.run_id, model_id=model.model_id) as logger:
            for step in range(2_500):
                logger.record_metrics({"loss": 1 / (step + 1)}, step)
        mlflow.finalize_logged_model(model.model_id, "READY")
    history = MlflowClient().get_metric_history(run.info.run_id, "loss")
    assert [point.step for point in history] == list(range(2_500))
    found = mlflow.get_logged_model(model.model_id)
    assert sorted(metric.step for metric in found.metrics) == list(range(2_500))


def test_autologging_of_lightning(folder: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch comes with CUDA from a package index: several gigabytes")
    lightning = pytest.importorskip("lightning", reason="needs PyTorch")

    class Model(lightning.LightningModule):  # type: ignore[misc]  # there is none where it is not installed
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(3, 1)

        def forward(self, features: Any) -> Any:
            return self.layer(features)

        def training_step(self, batch: Any, _: int) -> Any:
            loss = torch.nn.functional.mse_loss(self(batch[0]), batch[1])
            self.log("loss", loss, on_step=True, on_epoch=True)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.05)

    features = torch.randn(120, 3, generator=torch.Generator().manual_seed(1))
    data = torch.utils.data.TensorDataset(features, features.sum(1, keepdim=True))
    mlflow.set_experiment("lightning")
    mlflow.pytorch.autolog(log_every_n_step=1, checkpoint=False)
    trainer = lightning.Trainer(
        max_epochs=3, logger=False, enable_progress_bar=False, enable_checkpointing=False, accelerator="cpu",
        default_root_dir=tmp_path,
    )  # fmt: skip
    with mlflow.start_run() as run:
        trainer.fit(Model(), torch.utils.data.DataLoader(data, batch_size=20))
    found = mlflow.get_run(run.info.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.params["epochs"] == "3"
    assert found.data.params["optimizer_name"] == "SGD"
    history = MlflowClient().get_metric_history(run.info.run_id, "loss_epoch")
    assert len({point.step for point in history}) == 3
    assert history[-1].value < history[0].value
    assert len(MlflowClient().get_metric_history(run.info.run_id, "loss_step")) >= 15
    (model,) = mlflow.search_logged_models(output_format="list")
    assert (model.source_run_id, model.status.value) == (run.info.run_id, "READY")
    loaded = mlflow.pytorch.load_model(f"models:/{model.model_id}")
    assert loaded(features[:2]).shape == (2, 1)
    assert "model_summary.txt" in {info.path for info in MlflowClient().list_artifacts(run.info.run_id)}
