"""What a user sees of a rendered project in the MLflow UI, in a real browser."""

import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.expected_conditions import frame_to_be_available_and_switch_to_it
from selenium.webdriver.support.ui import WebDriverWait

from renderings import TEMPLATE

sys.path.insert(0, str(TEMPLATE / "docs"))  # a folder with a script, not a package
import screenshot

NAMES = {
    "my-ml-project/data-preparation",
    "my-ml-project/hyperparameter-tuning",
    "my-ml-project/model-training",
    "my-ml-project/model-evaluation",
    "my-ml-project/model-deployment",
    "my-ml-project/model-monitoring",
}
lacking = screenshot.missing()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(bool(lacking), reason=f"not installed: {' and '.join(lacking)}"),
    # The pages are the same for each kind of problem.
    pytest.mark.parametrize("problem_type", ["classification"], indirect=True, scope="session"),
]


@pytest.fixture(scope="module")
def address(pipeline_project: Path, project_python: Path) -> Iterator[str]:
    """Return where an MLflow server shows a project whose pipeline has run."""
    with screenshot.server(project_python, pipeline_project) as address:
        yield address


@pytest.fixture(scope="module")
def driver() -> Iterator[Chrome]:
    """Return a browser."""
    with screenshot.browser() as driver:
        yield driver


@pytest.fixture(scope="module")
def phases(pipeline_project: Path) -> dict[str, str]:
    """Return what the rendered project says of each of its phases."""
    tracking = pipeline_project / "src" / "mlflow_practices" / "tracking" / "__init__.py"
    return dict(runpy.run_path(str(tracking))["PHASES"])


def test_the_list_shows_the_experiments_with_their_descriptions(
    driver: Chrome, address: str, phases: dict[str, str]
) -> None:
    driver.get(f"{address}/#/experiments")
    screenshot.wait_for_text(driver, *NAMES, *phases.values())
    assert set(screenshot.experiment_names(driver)) == NAMES | {"Default"}


def test_the_page_of_an_experiment_shows_its_description(
    driver: Chrome, address: str, phases: dict[str, str]
) -> None:
    driver.get(f"{address}/#/experiments")
    screenshot.wait_for_text(driver, *NAMES)
    driver.find_element(By.LINK_TEXT, "my-ml-project/model-training").click()
    # The list shows it too: the name of another experiment tells the pages apart.
    screenshot.wait_for_text(driver, phases["model-training"], without=phases["model-deployment"])
    assert "/#/experiments/" in driver.current_url


def test_the_page_of_the_version_shows_its_card_and_its_tags(driver: Chrome, address: str) -> None:
    driver.get(f"{address}/#/models/my-ml-project/versions/1")
    screenshot.wait_for_text(driver, "challenger", "RandomForestClassifier", "Approval: none yet")
    table = driver.find_element(By.XPATH, "//table[.//th[text()='Baseline']]")
    rows = [
        [cell.text for cell in row.find_elements(By.TAG_NAME, "td")]
        for row in table.find_elements(By.TAG_NAME, "tr")[1:]
    ]
    metrics = {name: (float(value), float(baseline)) for name, value, _, baseline, _ in rows}
    model, baseline = metrics["accuracy"]
    assert 0.9 < model <= 1
    assert 0.3 < baseline < 0.6
    page = driver.find_element(By.TAG_NAME, "body").text
    for text in ("Verdict: no-champion, 0 of 4 gates failed", "balanced_accuracy against baseline"):
        assert text in page
    for tag in ("verdict", "evaluation_run_id", "metric_accuracy", "gate.slices", "data_version"):
        assert tag in page


@pytest.fixture(scope="module")
def artifacts(pipeline_project: Path, address: str) -> str:
    """Return the address of the artifacts of the run that prepared the data."""
    console = (pipeline_project / "console.txt").read_text(encoding="utf-8")
    found = re.search(r"^preparation +http://[^/]+(/#/\S+)$", console, re.MULTILINE)
    assert found is not None
    return f"{address}{found[1]}/artifacts"


def test_the_lineage_is_drawn(driver: Chrome, artifacts: str) -> None:
    driver.get("about:blank")  # else only the part after # changes, and nothing is loaded
    driver.get(f"{artifacts}/lineage/data_lineage.png")
    script = "return [...document.images].some(i => i.src.startsWith('blob:') && i.naturalWidth)"
    WebDriverWait(driver, screenshot.PAGE_SECONDS).until(lambda page: page.execute_script(script))


def test_the_quality_report_can_be_read(driver: Chrome, artifacts: str) -> None:
    driver.get("about:blank")
    driver.get(f"{artifacts}/quality/raw.html")
    wait = WebDriverWait(driver, screenshot.PAGE_SECONDS)
    wait.until(frame_to_be_available_and_switch_to_it((By.TAG_NAME, "iframe")))
    screenshot.wait_for_text(driver, "Data quality: passed", "column 'species': expected values")
    driver.switch_to.default_content()


def test_the_sample_of_the_data_is_a_table(driver: Chrome, artifacts: str) -> None:
    driver.get("about:blank")
    driver.get(f"{artifacts}/data/raw_sample.json")
    screenshot.wait_for_text(driver, "data/raw_sample.json", "flipper_length_mm", "Adelie")
