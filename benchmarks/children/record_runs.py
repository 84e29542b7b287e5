"""Time what logging costs: `python record_runs.py REPEATS URI`, prints JSON.

Once all at the end of a run, and once from a loop that computes between its steps.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping

import mlflow
from mlflow_practices.tracking import asynchronous_logging, recording, store

repeats, uri = int(sys.argv[1]), sys.argv[2]

STEPS, COMPUTING = 200, 0.005  # seconds a step
PARAMS = {f"param_{i}": i for i in range(100)}
METRICS = {f"metric_{i}": i / 7 for i in range(1000)}
SERIES = [step / 3 for step in range(STEPS)]
LOSS = list(enumerate(SERIES))


def one_by_one() -> None:
    for name, param in PARAMS.items():
        mlflow.log_param(name, param)
    for name, metric in METRICS.items():
        mlflow.log_metric(name, metric)
    for step, loss in LOSS:
        mlflow.log_metric("loss", loss, step=step)


def one_by_one_in_mlflow_s_background() -> None:
    for name, param in PARAMS.items():
        mlflow.log_param(name, param, synchronous=False)
    for name, metric in METRICS.items():
        mlflow.log_metric(name, metric, synchronous=False)
    for step, loss in LOSS:
        mlflow.log_metric("loss", loss, step=step, synchronous=False)
    mlflow.flush_async_logging()


def in_batches() -> None:
    recording.log_params(PARAMS)
    recording.log_metrics_efficiently({**METRICS, "loss": SERIES})


def in_batches_asynchronously() -> None:
    with asynchronous_logging.log_asynchronously(True):
        in_batches()


def loop(log: Callable[[int, float], object]) -> None:
    for step, loss in LOSS:
        time.sleep(COMPUTING)
        log(step, loss)


def silent_loop() -> None:
    loop(lambda step, loss: None)


def log_metric(step: int, loss: float) -> None:
    mlflow.log_metric("loss", loss, step=step)


def log_metric_in_mlflow_s_background(step: int, loss: float) -> None:
    mlflow.log_metric("loss", loss, step=step, synchronous=False)


def ours(step: int, loss: float) -> None:
    recording.log_metrics_efficiently({"loss": loss}, step=step)


def loop_in_mlflow_s_background() -> None:
    loop(log_metric_in_mlflow_s_background)
    mlflow.flush_async_logging()


def asynchronous_loop() -> None:
    with asynchronous_logging.log_asynchronously(True):
        loop(ours)


def seconds(action: Callable[[], object]) -> float:
    """Return how long it takes until all has arrived, in a run of its own."""
    with mlflow.start_run() as run:
        start = time.perf_counter()
        action()
        took = time.perf_counter() - start
    if action is not silent_loop:
        history = client.get_metric_history(run.info.run_id, "loss")
        if sorted((metric.step, metric.value) for metric in history) != LOSS:
            raise SystemExit("not all points have arrived")
    return took


def rounds(cases: Mapping[str, Callable[[], object]]) -> list[dict[str, float]]:
    return [{name: seconds(case) for name, case in cases.items()} for _ in range(repeats)]


client = store.open_store(uri)
seconds(in_batches)  # imports and connections come first
print(
    json.dumps(
        {
            "100 params, 1,000 metrics, a series of 200 steps": rounds(
                {
                    "in batches": in_batches,
                    "in batches, asynchronous": in_batches_asynchronously,
                    "one by one (guide)": one_by_one,
                    "one by one, MLflow's synchronous=False": one_by_one_in_mlflow_s_background,
                }
            ),
            "A loop of 200 steps of 5 ms, each logged": rounds(
                {
                    "not logged": silent_loop,
                    "log_metrics_efficiently": lambda: loop(ours),
                    "log_metrics_efficiently, asynchronous": asynchronous_loop,
                    "log_metric (guide)": lambda: loop(log_metric),
                    "log_metric, MLflow's synchronous=False": loop_in_mlflow_s_background,
                }
            ),
        }
    )
)
