"""What the check says of landmarks: what users can mend, and nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest

from sweep.check.command import main

STUDY = """
name: tiny
model: {kind: baseline, width: 0.0625}
data: {kind: landmarks, path: data, frames_per_output: 1}
training: {batch_size: 4}
space: {training.optimizer.lr: {loguniform: [1e-3, 1]}}
search: {kind: random}
budget: {trials: 2, steps: 60}
"""


def motion(index: int, num_frames: int = 40) -> np.ndarray:
    """A pose and two hands, [T, 75, 3]."""
    rng = np.random.default_rng(index)
    start = 0.5 + 0.05 * rng.normal(size=(1, 75, 3))
    return (start + np.cumsum(rng.normal(0, 0.004, (num_frames, 75, 3)), axis=0)).astype(np.float32)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(STUDY)
    return path


def write(folder: Path, arrays: list[np.ndarray]) -> None:
    (folder / "data").mkdir(exist_ok=True)
    lines = ["id,path,labels,signer,split"]
    for index, array in enumerate(arrays):
        np.save(folder / "data" / f"{index}.npy", array)
        split = "valid" if index >= len(arrays) - 3 else "train"
        lines.append(f"u{index},{index}.npy,{'A B' if index % 2 else 'B C A'},s,{split}")
    (folder / "data" / "manifest.csv").write_text("\n".join(lines))


def checked(capsys: pytest.CaptureFixture[str], study: Path, *overrides: str) -> dict[str, dict]:
    main([str(study), "--json", *(part for override in overrides for part in ("--set", override))])
    report = json.loads(capsys.readouterr().out)
    return {problem["kind"]: problem for problem in report["problems"]} | {"notes": report["notes"]}


def test_raw_coordinates_are_named_until_they_are_placed(study: Path, tmp_path: Path, capsys) -> None:
    write(tmp_path, [motion(index) for index in range(15)])
    found = checked(capsys, study)
    assert set(found) == {"raw coordinates", "notes"}
    assert "set data.points: hands_pose" in found["raw coordinates"]["text"]
    assert found["notes"] == [
        "arrays of 75 x 3 a frame were taken for pose 33, left_hand 21, right_hand 21, although they do not lie like a "
        "body and hands (`layout` can say otherwise)"
    ]
    # Shoulders one unit apart and columns of hands that are always seen never vary: nobody can change that.
    assert set(checked(capsys, study, "data.points=hands_pose")) == {"notes"}
    main([str(study)])
    assert "taken for pose 33" in capsys.readouterr().out


def test_unseen_hands_are_counted_and_utterances_without_any_are_named(study: Path, tmp_path: Path, capsys) -> None:
    arrays = [motion(index) for index in range(15)]
    for array in arrays:
        array[5:25, 33:54] = 0
    arrays[4][:, 33:] = 0
    write(tmp_path, arrays)
    for overrides in ([], ["data.points=hands_pose"]):
        found = checked(capsys, study, *overrides)
        assert found["utterances without hands"]["items"] == ["u4"]
        assert found["notes"][1] == (
            "left hand seen in 47% of the frames (320 frames with all of its points in one place count as not seen); "
            "in 1 utterance never (u4)"
        )
    # One that never signs is no fault.
    for array in arrays:
        array[:, 33:54] = 0
    arrays[4][:, 54:] = motion(4)[:, 54:]
    write(tmp_path, arrays)
    for overrides in (["data.points=hands_pose"], ["data.points=hands"]):
        assert set(checked(capsys, study, *overrides)) == {"notes"}
    assert set(checked(capsys, study)) == {"raw coordinates", "notes"}


def test_pixels_beside_shares_of_an_image_are_named(study: Path, tmp_path: Path, capsys) -> None:
    arrays = [motion(index) * (640 if index in (2, 7, 9) else 1) for index in range(15)]
    write(tmp_path, arrays)
    for overrides in ([], ["data.standardize=false"]):
        found = checked(capsys, study, *overrides)["mixed units"]
        assert found["items"] == ["u2 (large)", "u7 (large)", "u9 (large)"]
        assert "12 utterances have values up to 0.6" in found["text"] and "3 up to 4" in found["text"]
    # Most often the splits were extracted at different times.
    write(tmp_path, [motion(index) * (640 if index >= 12 else 1) for index in range(15)])
    assert checked(capsys, study)["mixed units"]["items"] == ["u12 (large)", "u13 (large)", "u14 (large)"]
    # Placed by the body, all are alike.
    assert "mixed units" not in checked(capsys, study, "data.points=hands_pose")


@pytest.mark.parametrize("shiver", [0.0, 0.002])
def test_frame_numbers_and_timestamps_are_named(study: Path, tmp_path: Path, capsys, shiver: float) -> None:
    rng = np.random.default_rng(0)
    arrays = []
    for index in range(15):
        block = rng.normal(size=(30 + index, 8)).astype(np.float32)
        block[:, 3] = 0.04 * np.arange(len(block)) + shiver * rng.uniform(size=len(block))
        # A walk rises often, and not evenly.
        block[:, 5] = np.cumsum(np.abs(block[:, 5]) ** 3)
        arrays.append(block)
    write(tmp_path, arrays)
    found = checked(capsys, study)
    assert found["counters among the features"]["items"] == ["features[3]"]
    write(tmp_path, [block * np.where(np.arange(8) == 3, -1, 1) for block in arrays])
    assert checked(capsys, study)["counters among the features"]["items"] == ["features[3]"]


def test_hands_in_another_unit_than_the_body_are_named(study: Path, tmp_path: Path, capsys) -> None:
    arrays = [motion(index) for index in range(15)]
    for array in arrays:
        array[:, 33:] *= 640
    write(tmp_path, arrays)
    found = checked(capsys, study, "data.points=hands_pose")
    columns = [f"{hand}[{column}]" for hand in ("left_hand", "right_hand") for column in (40, 41, 42)]
    assert found["features cut off"]["items"] == columns


def test_files_of_one_length_with_their_axes_swapped_are_named(study: Path, tmp_path: Path, capsys) -> None:
    write(tmp_path, [motion(index).reshape(40, -1).T for index in range(15)])
    found = checked(capsys, study)
    assert "every utterance has 225 frames of 40 features" in found["frames and features swapped"]["text"]
    write(tmp_path, [motion(index).reshape(40, -1) for index in range(15)])
    assert "frames and features swapped" not in checked(capsys, study)


def test_what_is_learned_by_heart_is_not_blamed_for_it(study: Path, tmp_path: Path, capsys) -> None:
    write(tmp_path, [motion(index) for index in range(15)])
    source = "{kind: landmarks, path: data, points: hands_pose, frames_per_output: 1}"
    study.write_text(
        study.read_text().replace(
            "{kind: landmarks, path: data, frames_per_output: 1}",
            f"{{kind: memorize, num_utterances: 4, source: {source}}}",
        )
    )
    assert set(checked(capsys, study)) == {"notes"}
