"""What is asked of a server, and what is said when it is not there, slow, or another one."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as some
from mlflow_practices.deployment.request_metrics import RequestMetrics
from mlflow_practices.deployment.server_client import ServerClient, ServerError

from http_servers import QuietHandler, run_handler

OLD, NEW = "m/1", "m/2"
METRICS = """\
# TYPE serving_requests_total counter
serving_requests_total{status="200",version="m/1"} 90.0
serving_requests_total{status="500",version="m/1"} 10.0
serving_requests_total{status="499",version=""} 7.0
serving_requests_total{status="200",version="m/2"} 1.0
serving_requests_total{status="400",version="m/2"} 3.0
# TYPE serving_request_seconds histogram
serving_request_seconds_bucket{le="0.01",version="m/1"} 50.0
serving_request_seconds_bucket{le="0.1",version="m/1"} 90.0
serving_request_seconds_bucket{le="+Inf",version="m/1"} 100.0
serving_request_seconds_bucket{le="0.01",version="m/2"} 0.0
serving_request_seconds_bucket{le="0.1",version="m/2"} 4.0
serving_request_seconds_bucket{le="+Inf",version="m/2"} 4.0
# TYPE serving_model_version gauge
serving_model_version{pid="1"} 2.0
serving_model_version{pid="2"} 1.0
"""


@contextmanager
def answering(
    status: int, *parts: str, wait: float = 0, kind: str = "application/json"
) -> Iterator[str]:
    """Yield the address of a server whose every answer is these parts, each after a wait."""

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(sum(map(len, parts))))
            self.end_headers()
            for part in parts:
                time.sleep(wait)
                self.wfile.write(part.encode())

        do_POST = do_GET

    with run_handler(Handler) as address:
        yield address


CALLS: list[Callable[[ServerClient], object]] = [
    ServerClient.version,
    ServerClient.health,
    ServerClient.example,
    ServerClient.metrics,
    lambda client: client.predict([{"size": 1}]),
    lambda client: client.serves_everywhere(OLD),
]


@pytest.mark.parametrize("call", CALLS)
def test_another_program_is_named_in_one_line(
    call: Callable[[ServerClient], object],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(ServerError, match=f"{nobody}/.*; is the server"):
        call(ServerClient(nobody))
    with (
        answering(200, "<html>{</html>") as other,
        pytest.raises(ServerError, match=f"{other}: .* not this project's server"),
    ):
        call(ServerClient(other))
    with (
        answering(404, "nothing\nhere") as other,
        pytest.raises(ServerError, match=f"{other}/.*status 404, nothing here; see"),
    ):
        call(ServerClient(other))


def test_a_password_of_the_address_is_not_told() -> None:
    with pytest.raises(ServerError) as caught:
        ServerClient("http://ann:s3cret-word@127.0.0.1:1").version()
    assert "s3cret-word" not in str(caught.value)


@pytest.mark.parametrize("parts", [["{"], list('{"ready": true}' * 3)])
def test_a_server_that_is_too_slow_is_left_in_time(parts: list[str]) -> None:
    wait = 1.5 if len(parts) == 1 else 0.1
    with answering(200, *parts, wait=wait) as slow:
        began = time.monotonic()
        with pytest.raises(ServerError, match=r"/health: no answer within 0\.5 s"):
            ServerClient(slow, timeout_seconds=0.5).health()
        assert time.monotonic() - began < 1.2


def test_the_health_of_a_server_that_is_not_ready_is_told() -> None:
    with answering(503, '{"ready": false, "version": null, "registry": "down"}') as waiting:
        assert ServerClient(waiting).health()["registry"] == "down"
        with pytest.raises(ServerError, match="status 503"):
            ServerClient(waiting).version()


def test_metrics_are_counted_by_version() -> None:
    with answering(200, METRICS, kind="text/plain") as server:
        figures = ServerClient(server).metrics()
        assert not ServerClient(server).serves_everywhere(NEW)  # a worker is at the old one
    assert [figures.requests(version) for version in (OLD, NEW, None)] == [100, 4, 104]
    assert [figures.failed(version) for version in (OLD, NEW, None)] == [10, 3, 13]
    assert [figures.failure_rate(version) for version in (OLD, NEW, "m/3")] == [0.1, 0.75, 0]
    # As histogram_quantile: linear within a bucket, and the lower bound of the open one.
    shares = {0.25: 0.005, 0.5: 0.01, 0.7: 0.055, 0.95: 0.1}
    for share, seconds in shares.items():
        assert figures.quantile(share, OLD) == pytest.approx(seconds)
    assert figures.quantile(0.5, NEW) == pytest.approx(0.055)
    assert figures.quantile(0.5) == pytest.approx(0.01 + 0.09 * 2 / 44)
    assert figures.quantile(0.5, "m/3") is None


def test_figures_since_an_earlier_look_also_after_a_restart() -> None:
    earlier = RequestMetrics({(OLD, "200"): 5}, {(OLD, 0.1): 5, (OLD, inf): 5})
    later = RequestMetrics(
        {(OLD, "200"): 5, (NEW, "500"): 2},
        {(OLD, 0.1): 5, (OLD, inf): 5, (NEW, 0.1): 1, (NEW, inf): 2},
    )
    since = later.since(earlier)
    assert (since.requests(OLD), since.requests(NEW), since.failed()) == (0, 2, 2)
    assert since.quantile(0.5, OLD) is None
    assert since.quantile(0.5, NEW) == pytest.approx(0.1)
    restarted = RequestMetrics({(NEW, "200"): 1}, {(NEW, 0.1): 1, (NEW, inf): 1})
    assert restarted.since(later) == restarted
    assert restarted.since(RequestMetrics({}, {})) == restarted


@given(some.lists(some.integers(0, 50), min_size=2, max_size=6), some.floats(0.01, 1))
def test_a_quantile_lies_in_the_bucket_of_its_rank(counts: list[int], share: float) -> None:
    bounds = [*range(1, len(counts)), inf]
    running = [sum(counts[: n + 1]) for n in range(len(counts))]
    figures = RequestMetrics(
        {}, {(NEW, bound): n for bound, n in zip(bounds, running, strict=True)}
    )
    found = figures.quantile(share)
    if not running[-1]:
        assert found is None
        return
    assert found is not None
    place = next(n for n, count in enumerate(running) if count >= share * running[-1])
    assert place <= found <= place + 1
