"""Take the pictures of the README from a live project: `python docs/screenshot.py`.

The template is rendered, its pipeline runs, and a browser without a window looks at the MLflow UI
as it then is, so the pictures cannot drift. Needs Chromium and its chromedriver. The tests look at
the UI with the same functions.
"""

import argparse
import base64
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))  # scripts, no package
import common

START_SECONDS, PAGE_SECONDS = 60, 60
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # which root cannot have
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)
# CSS pixels, and how many of the picture's each one is: 1400 wide in all.
WIDTH, SCALE = 1120, 1.25
EXPERIMENTS_HEIGHT, MODEL_HEIGHT = 465, 935
# What the UI remembers of a user who trains models and has closed the assistant.
REMEMBERED = {
    "mlflow.workflowType_v1": '"machine_learning"',
    "mlflow.assistant.panelOpen_v1": "false",
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
}
# Nothing that moves or floats above the page, and whole texts instead of "my-ml-project/mod...".
STYLE = """
    * { transition: none !important; animation: none !important; }
    [data-assistant-ui] { display: none !important; }
    ::-webkit-scrollbar { display: none; }
    [role=cell] > span { white-space: normal !important; line-height: 17px !important; }
    [role=row] > :nth-child(2) { flex: 250 !important; }
    [role=row] > :nth-child(3), [role=row] > :nth-child(4) { flex: 120 !important; }
    [role=row] > :nth-child(5) { flex: 335 !important; }
    [role=row] > :nth-child(6) { flex: 190 !important; }
"""
EXPERIMENT = "[data-testid=experiment-list-item-link]"


def missing() -> list[str]:
    """Return the names of the programs that this machine lacks for looking at a page."""
    lacking = [] if shutil.which("chromedriver") else ["chromedriver"]
    return lacking if any(map(shutil.which, BROWSERS)) else ["chromium", *lacking]


@contextmanager
def server(python: Path, project: Path) -> Iterator[str]:
    """Serve the MLflow UI on the project's SQLite store; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [str(python), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{project / 'mlflow.db'}"]
    ours = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command, cwd=project, env={**os.environ, **ours}, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            address = f"http://127.0.0.1:{port}"
            if not _healthy(process, address):
                log.seek(0)
                raise SystemExit(f"the MLflow server did not start:\n{log.read()[-2000:]}")
            yield address
        finally:
            process.terminate()
            process.wait()


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """Open a browser without a window and with an empty profile of its own."""
    if lacking := missing():
        raise SystemExit(f"not installed: {' and '.join(lacking)}")
    options = webdriver.ChromeOptions()
    options.binary_location = next(filter(None, map(shutil.which, BROWSERS)))
    # Given both paths, selenium has no reason to download a browser.
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options, service)
        try:
            yield driver
        finally:
            driver.quit()


def wait_for_text(driver: webdriver.Chrome, *texts: str, without: str | None = None) -> None:
    """Wait until the page shows all of ``texts``, and not ``without``; else say what it shows."""
    end, shown = time.monotonic() + PAGE_SECONDS, ""
    while time.monotonic() < end:
        try:
            shown = driver.find_element(By.TAG_NAME, "body").text
        except (NoSuchElementException, StaleElementReferenceException):
            continue
        if all(text in shown for text in texts) and (without is None or without not in shown):
            return
        time.sleep(0.1)
    raise AssertionError(f"{driver.current_url} does not show {texts}, but:\n{shown}")


def experiment_names(driver: webdriver.Chrome) -> list[str]:
    """Return the names of the experiments in the list, from top to bottom."""
    script = "return [...document.querySelectorAll(arguments[0])].map(link => link.textContent)"
    return list(driver.execute_script(script, EXPERIMENT))


def take(driver: webdriver.Chrome, height: int, path: Path) -> None:
    """Save a picture of the page once two in a row are equal: nothing loads or moves any more."""
    size = {"width": WIDTH, "height": height, "deviceScaleFactor": SCALE, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    script = "document.head.appendChild(document.createElement('style')).textContent = arguments[0]"
    driver.execute_script(script, STYLE)
    pictures = [b""]

    def still(driver: webdriver.Chrome) -> bool:
        pictures.append(driver.get_screenshot_as_png())
        return pictures[-1] == pictures[-2]

    WebDriverWait(driver, PAGE_SECONDS).until(still)
    path.write_bytes(pictures[-1])
    print(f"{path.name}: {len(pictures[-1]) // 1000} kB")


def _healthy(process: "subprocess.Popen[bytes]", address: str) -> bool:
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            with urlopen(f"{address}/health", timeout=5):
                return True
        except (URLError, TimeoutError):
            time.sleep(0.2)
    return False


def _experiments(driver: webdriver.Chrome, address: str, path: Path) -> None:
    """Take the list of experiments: the project's own, in the order of the pipeline."""
    driver.get(f"{address}/#/experiments")
    wait_for_text(driver, "Description", common.PROJECT)
    driver.find_element(By.CSS_SELECTOR, "[aria-label='Toggle sidebar']").click()
    driver.find_element(By.CSS_SELECTOR, "[role=columnheader] [title='Time created']").click()
    search = driver.find_element(By.CSS_SELECTOR, "input[placeholder='Search experiments']")
    search.click()
    search.send_keys(f"{common.PROJECT}/\n")
    ours = f"{common.PROJECT}/data-preparation"
    WebDriverWait(driver, PAGE_SECONDS).until(
        lambda driver: (names := experiment_names(driver))[:1] == [ours] and "Default" not in names
    )
    driver.execute_script("document.activeElement.blur()")
    take(driver, EXPERIMENTS_HEIGHT, path)


def _model(driver: webdriver.Chrome, address: str, path: Path) -> None:
    """Take the page of the model version: its card, with the gates and the metrics."""
    driver.get(f"{address}/#/models/{common.PROJECT}/versions/1")
    wait_for_text(driver, "Description", "Baseline", "challenger")
    take(driver, MODEL_HEIGHT, path)


def _lineage(driver: webdriver.Chrome, project: Path, path: Path) -> None:
    """Take the drawing of where the prepared data came from."""
    [drawing] = project.glob("mlruns/**/data-preparation/**/data_lineage.png")
    content = drawing.read_bytes()
    width, height = struct.unpack(">2I", content[16:24])  # of a PNG, in pixels
    image = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    driver.get(f"data:text/html,<body style='margin:0'><img width='100%25' src='{image}'>")
    take(driver, round(WIDTH * height / width), path)


def main() -> int:
    """Render, run the pipeline, take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="a folder")
    options = parser.parse_args()
    with common.workspace() as work:
        project = common.render(work)
        common.run_python(project, "-m", common.PACKAGE, "run")
        with server(Path(sys.executable), project) as address, browser() as driver:
            remember = "".join(
                f"localStorage.setItem('{k}', '{v}');" for k, v in REMEMBERED.items()
            )
            driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": remember})
            _experiments(driver, address, options.out / "experiments.png")
            _model(driver, address, options.out / "model.png")
            _lineage(driver, project, options.out / "lineage.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
