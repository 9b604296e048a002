"""How fast a folder of landmarks becomes a dataset, beside NumPy alone, and what memory it takes.

    python -m benchmarks.speed.reading [--utterances 5000] [--frames 100]

Made-up .npy files [T, 75, 3] (pose and both hands, one hand not found in a third of the frames), read in processes of
their own, best of three: by `np.load` and one `np.concatenate`, and by the source as it is, standardized, and with the
landmarks placed by the body. The files are in the page cache: what is measured is the work, not the disk.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

WAYS: dict[str, dict[str, object]] = {
    "NumPy alone": {},
    "as they are": {"standardize": False},
    "standardized": {},
    "points: hands": {"points": "hands"},
    "points: hands_pose, velocities": {"points": "hands_pose", "velocity": True},
    "standardized, map_dir": {"map_dir": "mapped"},
}
REPEATS = 3


def write(folder: Path, num: int, num_frames: int) -> None:
    """The files and their list."""
    rng = np.random.default_rng(0)
    lines = ["id,path,labels,signer,split"]
    for index in range(num):
        points = (0.5 + 0.05 * rng.standard_normal((num_frames, 75, 3))).astype(np.float32)
        points[: num_frames // 3, 33:54] = 0
        np.save(folder / f"{index}.npy", points)
        lines.append(f"u{index},{index}.npy,{'A B' if index % 2 else 'B C'},s,{'dev' if index % 10 == 0 else 'train'}")
    (folder / "manifest.csv").write_text("\n".join(lines))


def read(folder: Path, way: str) -> tuple[float, float, float]:
    """Seconds, MiB of memory at most, and MiB of the features that come of it; in this process."""
    from slr_models.data import LandmarksConfig

    memory = _Memory()
    start = time.perf_counter()
    if way == "NumPy alone":
        names = [line.split(",")[1] for line in (folder / "manifest.csv").read_text().splitlines()[1:]]
        size = np.concatenate([np.load(folder / name).reshape(-1, 225) for name in names]).nbytes
    else:
        settings = {name: str(folder / "mapped") if name == "map_dir" else value for name, value in WAYS[way].items()}
        dataset = LandmarksConfig.model_validate({"path": str(folder), **settings}).build()
        size = dataset.train.features.nbytes + dataset.valid.features.nbytes
    seconds = time.perf_counter() - start
    return seconds, memory.peak_mib(), size / 2**20


class _Memory:
    """The memory of this process beyond what it has now, files that are mapped left out; looked at every 5 ms."""

    def __init__(self) -> None:
        self._before = self._most = _anonymous_kib()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._is_over.wait(0.005):
            self._most = max(self._most, _anonymous_kib())

    def peak_mib(self) -> float:
        self._is_over.set()
        self._thread.join()
        return (max(self._most, _anonymous_kib()) - self._before) / 2**10


def _anonymous_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=5000)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--read", nargs=2, metavar=("FOLDER", "WAY"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        print(json.dumps(read(Path(arguments.read[0]), arguments.read[1])))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, arguments.utterances, arguments.frames)
        num_mib = sum(file.stat().st_size for file in folder.glob("*.npy")) / 2**20
        print(f"{arguments.utterances} utterances of {arguments.frames} frames, {num_mib:.0f} MiB of files\n")
        print("| read | utterances/s | MiB/s | times NumPy's time | memory at most, times the features |")
        print("|---|---|---|---|---|")
        alone = 0.0
        for way in WAYS:
            runs = []
            for _ in range(REPEATS):
                command = [sys.executable, "-m", "benchmarks.speed.reading", "--read", name, way]
                said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                runs.append(json.loads(said))
            seconds, peak, size = min(runs)
            alone = alone or seconds
            print(
                f"| {way} | {arguments.utterances / seconds:.0f} | {num_mib / seconds:.0f} | {seconds / alone:.1f} "
                f"| {peak / size:.1f} ({peak:.0f} MiB) |",
                flush=True,
            )


if __name__ == "__main__":
    main()
