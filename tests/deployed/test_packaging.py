"""What the packages of the functions hold, and what importing them costs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"
BUILDS = {
    "AlarmHandler": "alarm_handler",
    "PipelineStarter": "pipeline_starter",
    "StatusPoller": "status_poller",
    "Approver": "approver",
    "EndpointUpdater": "endpoint_updater",
    "EpisodeCloser": "episode_closer",
    "PipelinePublisher": "pipeline_publisher",
}
HEAVY = ("numpy", "pandas", "xgboost", "scipy", "sagemaker")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every control-plane function, built as `sam build` builds it."""
    folder = tmp_path_factory.mktemp("packages")
    copy = folder / "src"
    shutil.copytree(SRC, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for name in BUILDS:
        environment = {**os.environ, "ARTIFACTS_DIR": str(folder / name)}
        subprocess.run(["make", f"build-{name}"], cwd=copy, env=environment, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("name", BUILDS)
def test_a_handler_imports_from_its_own_package_and_pulls_in_nothing_heavy(name: str, packages: Path) -> None:
    code = (
        f"import sys, handlers.{BUILDS[name]}, retrain\n"
        f"assert retrain.__file__.startswith({str(packages)!r}), retrain.__file__\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(packages / name)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=packages, env=environment, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", BUILDS)
def test_a_package_is_far_below_three_megabytes(name: str, packages: Path) -> None:
    archive = shutil.make_archive(str(packages / f"{name}-zipped"), "zip", packages / name)
    assert Path(archive).stat().st_size < 500_000


@pytest.mark.parametrize("architecture", ["arm64", "x86_64"])
def test_the_drift_monitors_package_is_as_small_as_it_can_be(architecture: str, tmp_path: Path) -> None:
    out = tmp_path / "package"
    out.mkdir()
    makefile = SRC / "runtimes" / f"python{sys.version_info.major}.{sys.version_info.minor}-{architecture}" / "Makefile"
    environment = {**os.environ, "ARTIFACTS_DIR": str(out)}
    subprocess.run(
        ["make", "--makefile", makefile, "build-DriftMonitor"],
        cwd=SRC,
        env=environment,
        check=True,
        capture_output=True,
    )
    files = [file for file in out.rglob("*") if file.is_file()]
    machine = {"arm64": b"\xb7\x00", "x86_64": b"\x3e\x00"}[architecture]  # e_machine of an ELF file
    libraries = [file for file in files if ".so" in file.suffixes]
    assert len(libraries) > 10
    assert {file.read_bytes()[18:20] for file in libraries} == {machine}
    assert {"numpy", "polars", "orjson", "isal"} <= {path.name for path in out.iterdir()}
    assert [file for file in files if "tests" in file.parts or "__pycache__" in file.parts] == []
    assert any("LICENSE" in file.name for file in out.glob("numpy-*.dist-info/**/*"))
    assert sum(file.stat().st_size for file in files) < 240e6  # Lambda allows 250
    assert Path(shutil.make_archive(str(tmp_path / "package"), "zip", out)).stat().st_size < 70e6


def test_the_quality_monitor_does_with_numpy() -> None:
    missing = ("polars", "orjson", "rich", "plotly", "jinja2", "xgboost", "pandas", "sagemaker")
    code = f"import sys; sys.modules.update(dict.fromkeys({missing!r})); import handlers.quality_monitor"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(SRC)}, check=True)


@pytest.mark.parametrize("name", [name for name in BUILDS if name != "PipelinePublisher"])
def test_the_jobs_stay_out_of_functions_that_do_not_publish_them(name: str, packages: Path) -> None:
    assert not (packages / name / "retrain" / "jobs").exists()


def test_the_publishers_package_holds_every_file_that_it_uploads(packages: Path) -> None:
    code = (
        "from retrain.pipeline import job_code as p\n"
        "from retrain.pipeline.definition import CANDIDATE_JOBS, definition\n"
        "files = {**p.package_files(), **p.source_files()}\n"
        "print([n for n, f in files.items() if not f.exists()], len(files))\n"
        "assert all(definition(jobs)['Steps'] for jobs in CANDIDATE_JOBS)"
    )
    environment = {**os.environ, "PYTHONPATH": str(packages / "PipelinePublisher")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=packages, env=environment, text=True, capture_output=True, check=True
    )
    assert done.stdout.startswith("[] ")


@pytest.mark.parametrize(
    "module", ["retrain.drift.analysis", "retrain.monitors.drift_monitor", "retrain.monitors.quality_monitor"]
)
def test_the_drift_monitor_needs_no_xgboost(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('xgboost', 'pandas', 'sagemaker') if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, text=True, capture_output=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_report_writers_package_is_the_same_code_without_the_monitors_libraries() -> None:
    package = SRC.parent / "report-writer"
    assert {path.name: path.resolve() for path in package.iterdir() if path.is_dir()} == {
        name: SRC / name for name in ("handlers", "retrain")
    }
    missing = ("polars", "orjson", "isal", "rich", "xgboost", "pandas", "sagemaker")
    code = f"import sys; sys.modules.update(dict.fromkeys({missing!r})); import handlers.report_writer"
    environment = {**os.environ, "PYTHONPATH": str(package)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_only_the_adapters_import_boto3_and_only_telemetry_imports_powertools() -> None:
    for file in SRC.rglob("*.py"):
        text = file.read_text()
        if file.parent.name != "aws":
            assert "import boto3" not in text and "from boto" not in text, file  # noqa: PT018
        if file.name != "telemetry.py":
            assert "aws_lambda_powertools" not in text, file


def test_no_decision_reads_a_clock() -> None:
    for file in SRC.rglob("*.py"):
        text = file.read_text()
        for clock in ("datetime.now(", "utcnow(", "time.time(", "date.today("):
            assert clock not in text, (file, clock)


def test_every_refusal_in_the_code_has_a_known_code() -> None:
    import re

    from retrain.core.errors import REFUSALS

    used = set()
    for file in SRC.rglob("*.py"):
        used |= set(re.findall(r'Refused\(\s*"([a-z_]+)"', file.read_text()))
    assert used <= REFUSALS
