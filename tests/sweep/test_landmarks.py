"""`landmarks`: videos in a process of another environment, whose part a stand-in for MediaPipe plays here.

With SLR_MEDIAPIPE_PYTHON=/path/to/mediapipe-env/bin/python, MediaPipe itself extracts a video, too.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from slr_models.data import LandmarksConfig
from sweep.__main__ import main

STAND_IN = """#!{python}
# Speaks as the environment's program does; a video is a text with its number of frames.
import json, os, sys
import numpy as np

print(json.dumps({{"ready": "stand-in"}}), flush=True)
for line in sys.stdin:
    order = json.loads(line)
    with open({log!r}, "a") as log:
        log.write(os.path.basename(order["video"]) + "\\n")
    text = open(order["video"]).read()
    if text == "die":
        print("no memory left", file=sys.stderr)
        os._exit(7)
    if not text.isdigit():
        print(json.dumps({{"failed": "no frame can be read"}}), flush=True)
        continue
    count = int(text)
    points = np.random.default_rng(count).random((count, 543, 3)).astype(np.float32)
    points[: count // 4, 501:522] = np.nan
    print(json.dumps({{"frame": 1, "frames": count}}), flush=True)
    with open(order["out"], "wb") as file:
        np.savez_compressed(file, landmarks=points, layout="mediapipe_holistic", fps=25.0)
    print(json.dumps({{"done": count, "frames": 40}}), flush=True)
"""


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """In the place of the interpreter with MediaPipe."""
    path = tmp_path / "python"
    path.write_text(STAND_IN.format(python=sys.executable, log=str(tmp_path / "log")))
    path.chmod(0o755)
    return path


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    (folder / "more").mkdir(parents=True)
    for name in ("a.mp4", "b.avi", "more/c.mp4"):
        (folder / name).write_text("40")
    (folder / "notes.txt").touch()
    return folder


def test_videos_become_a_folder_that_a_study_reads(
    tmp_path: Path, python: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "l.csv").write_text("video,gloss,signer\na.mp4,YES/NO,x\nb.avi,NO/YES,y\nc.mp4,NO,x\n")
    arguments = ["landmarks", str(videos), "--out", str(tmp_path / "out"), "--labels", str(tmp_path / "l.csv")]
    assert main([*arguments, "--python", str(python)]) == 0
    said = capsys.readouterr().out
    assert "a: 40 frames, left hand seen in 75 %, right hand seen in 100 %\n" in said
    assert "next: slr-sweep check STUDY.yaml" in said
    data = LandmarksConfig(path=str(tmp_path / "out"), points="hands_pose").build()
    assert sorted((*data.train.ids, *data.valid.ids)) == ["a", "b", "more/c"]
    assert set(data.train.signers).isdisjoint(data.valid.signers)


def test_what_is_done_is_not_done_again(
    tmp_path: Path, python: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["landmarks", str(videos), "--out", str(tmp_path / "out"), "--python", str(python)]
    (videos / "b.avi").write_text("torn")
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert "b.avi cannot be read (no frame can be read); replace it" in err and err.count("\n") == 1
    manifest = tmp_path / "out" / "manifest.csv"
    assert "2 new lines without labels" in out and manifest.read_text().count("\n") == 3
    manifest.write_text(manifest.read_text().replace("a.npz,,", "a.npz,YES,"))
    (videos / "b.avi").write_text("40")
    (tmp_path / "out" / "features" / "b.npz.partial").write_text("half")
    assert main(arguments) == 0
    assert "2 videos done before" in capsys.readouterr().out
    assert (tmp_path / "log").read_text().split() == ["a.mp4", "b.avi", "c.mp4", "b.avi"]
    lines = manifest.read_text().splitlines()
    assert lines[1] == "a,features/a.npz,YES,,train" and lines[3] == "b,features/b.npz,,,train" and len(lines) == 4


def test_labels_that_are_missing_are_told_before_any_work(
    tmp_path: Path, python: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "l.csv").write_text("video,gloss\na.mp4,YES\nb.avi,NO\n")
    arguments = ["landmarks", str(videos), "--out", str(tmp_path / "out"), "--labels", str(tmp_path / "l.csv")]
    assert main([*arguments, "--python", str(python)]) == 2
    assert "c.mp4: 'more/c' has no labels" in capsys.readouterr().err
    assert not (tmp_path / "out").exists() and not (tmp_path / "log").exists()


def test_a_process_that_dies_is_told_with_its_video(
    tmp_path: Path, python: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (videos / "b.avi").write_text("die")
    assert main(["landmarks", str(videos), "--out", str(tmp_path / "out"), "--python", str(python)]) == 2
    err = capsys.readouterr().err
    assert "b.avi: the process that extracts landmarks ended with 7 (no memory left)" in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("python", "said"), [(sys.executable, "has no MediaPipe Holistic ("), ("/no/python", "is no Python that can be")]
)
def test_without_mediapipe_it_says_how_to_get_it(
    tmp_path: Path, videos: Path, python: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["landmarks", str(videos), "--out", str(tmp_path / "out"), "--python", python]) == 2
    err = capsys.readouterr().err
    assert said in err and "-m venv mediapipe-env" in err and "pip install 'mediapipe<0.10.30'" in err


def test_a_folder_without_videos_and_names_that_meet(
    tmp_path: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (videos / "a.mov").touch()
    assert main(["landmarks", str(videos), "--out", str(tmp_path / "out")]) == 2
    assert "would both be called 'a'" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["landmarks", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]) == 2
    assert "holds no video" in capsys.readouterr().err


@pytest.mark.skipif("SLR_MEDIAPIPE_PYTHON" not in os.environ, reason="set SLR_MEDIAPIPE_PYTHON to try MediaPipe itself")
def test_mediapipe_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    python = os.environ["SLR_MEDIAPIPE_PYTHON"]
    making = (
        "import cv2, sys, numpy as np\n"
        "out = cv2.VideoWriter(sys.argv[1], cv2.VideoWriter_fourcc(*'mp4v'), 25, (256, 256))\n"
        "[out.write(np.full((256, 256, 3), 8 * i, np.uint8)) for i in range(12)]\n"
        "out.release()\n"
    )
    (tmp_path / "videos").mkdir()
    subprocess.run([python, "-c", making, str(tmp_path / "videos" / "grey.mp4")], check=True)
    assert main(["landmarks", str(tmp_path / "videos"), "--out", str(tmp_path / "out"), "--python", python]) == 0
    assert "grey: 12 frames, no person seen: leave it out" in capsys.readouterr().out
    with np.load(tmp_path / "out" / "features" / "grey.npz", allow_pickle=False) as arrays:
        assert arrays["landmarks"].shape == (12, 543, 3) and arrays["landmarks"].dtype == np.float32
        assert np.isnan(arrays["landmarks"]).all() and arrays["size"].tolist() == [256, 256] and arrays["fps"] == 25


def test_a_setting_that_is_none_is_told(tmp_path: Path, videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["landmarks", str(videos), "--out", str(tmp_path / "out"), "--seed", "-1"]) == 2
    assert capsys.readouterr().err == "error: seed: input should be greater than or equal to 0, got -1\n"
