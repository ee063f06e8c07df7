"""What the packages of the functions hold, and what importing them costs."""

from __future__ import annotations

import os
import re
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
    "EpisodeSweeper": "episode_sweeper",
    "PipelinePublisher": "pipeline_publisher",
}
_NOWHERE = ("xgboost", "pandas", "rich", "sagemaker")
LIBRARIES = {  # name → handler, and what the package does without
    "DriftMonitor": ("drift_monitor", (*_NOWHERE, "plotly", "jinja2")),
    "QualityMonitor": ("quality_monitor", (*_NOWHERE, "plotly", "jinja2", "polars", "orjson")),
    "ReportWriter": ("report_writer", (*_NOWHERE, "polars", "orjson", "isal")),
}
HEAVY = ("numpy", "pandas", "xgboost", "scipy", "sagemaker")


# Not in `make test-fast`: packages are built, and a process is started for each.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every function's code, and of the control plane that is the package, built as `sam build` builds it."""
    folder = tmp_path_factory.mktemp("packages")
    copy = folder / "src"
    shutil.copytree(SRC, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (*BUILDS, *LIBRARIES):
        environment = {**os.environ, "ARTIFACTS_DIR": str(folder / name)}
        make = ["make", "--makefile", "runtimes/python3.13-arm64/Makefile"]
        target = f"{'build' if name in BUILDS else 'code'}-{name}"
        subprocess.run([*make, target], cwd=copy, env=environment, check=True, capture_output=True)
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


def test_the_publisher_knows_what_the_packages_were_built_for(packages: Path) -> None:
    assert (packages / "PipelinePublisher" / "built-for").read_text() == "python3.13-arm64\n"


@pytest.mark.parametrize("name", BUILDS)
def test_a_package_is_far_below_three_megabytes(name: str, packages: Path) -> None:
    archive = shutil.make_archive(str(packages / f"{name}-zipped"), "zip", packages / name)
    assert Path(archive).stat().st_size < 500_000


def unpacked(function: str, architecture: str, out: Path) -> list[Path]:
    """The files of the function's package, built for this Python on that processor as `sam build` builds it."""
    out.mkdir()
    makefile = SRC / "runtimes" / f"python{sys.version_info.major}.{sys.version_info.minor}-{architecture}" / "Makefile"
    environment = {**os.environ, "ARTIFACTS_DIR": str(out)}
    command = ["make", "--makefile", makefile, f"build-{function}"]
    subprocess.run(command, cwd=SRC, env=environment, check=True, capture_output=True)
    return [file for file in out.rglob("*") if file.is_file()]


@pytest.mark.packaging
@pytest.mark.parametrize(
    ("function", "architecture", "carries", "unpacked_mb", "zipped_mb"),
    [
        ("DriftMonitor", "arm64", {"numpy", "polars", "orjson", "isal"}, 240, 70),
        ("DriftMonitor", "x86_64", {"numpy", "polars", "orjson", "isal"}, 240, 70),
        ("QualityMonitor", "arm64", {"numpy", "isal"}, 60, 20),
        ("ReportWriter", "x86_64", {"numpy", "jinja2", "markupsafe", "plotly"}, 110, 30),
    ],
)
def test_a_package_with_libraries_is_as_small_as_it_can_be(
    function: str, architecture: str, carries: set[str], unpacked_mb: int, zipped_mb: int, tmp_path: Path
) -> None:
    out = tmp_path / "package"
    files = unpacked(function, architecture, out)
    machine = {"arm64": b"\xb7\x00", "x86_64": b"\x3e\x00"}[architecture]  # e_machine of an ELF file
    libraries = [file for file in files if ".so" in file.suffixes]
    assert len(libraries) > 10
    assert {file.read_bytes()[18:20] for file in libraries} == {machine}
    assert carries <= {path.name for path in out.iterdir()}
    assert [file for file in files if "tests" in file.parts or "__pycache__" in file.parts] == []
    assert any("LICENSE" in file.name for file in out.glob("numpy-*.dist-info/**/*"))
    size = sum(file.stat().st_size for file in files)
    packed = Path(shutil.make_archive(str(tmp_path / "package"), "zip", out)).stat().st_size
    print(f"{function} {architecture}: {size / 1e6:.0f} MB unpacked, {packed / 1e6:.1f} MB zipped")
    assert size < unpacked_mb * 1e6  # Lambda allows 250
    assert packed < zipped_mb * 1e6


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_package_with_libraries_holds_the_rooms_that_its_handler_needs(name: str, packages: Path) -> None:
    handler, absent = LIBRARIES[name]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent!r})); import handlers.{handler}, retrain\n"
        f"assert retrain.__file__.startswith({str(packages)!r}), retrain.__file__"
    )
    environment = {**os.environ, "PYTHONPATH": str(packages / name)}
    subprocess.run([sys.executable, "-c", code], cwd=packages, env=environment, check=True)


def test_every_requirement_of_a_function_is_pinned_by_hash() -> None:
    for source in [*SRC.glob("requirements/*.in"), SRC.parent / "layers" / "telemetry" / "requirements.in"]:
        wanted = re.findall(r"^([\w-]+==[\w.]+)", source.read_text(), re.M)
        locked = re.split(r"\n(?=\S)", source.with_suffix(".txt").read_text().strip())
        assert all("--hash=sha256:" in one for one in locked), source
        assert set(wanted) <= {one.split()[0] for one in locked}, f"{source}: run `make lock`"


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
    from retrain.core.errors import REFUSALS

    used = set()
    for file in SRC.rglob("*.py"):
        used |= set(re.findall(r'Refused\(\s*"([a-z_]+)"', file.read_text()))
    assert used <= REFUSALS
