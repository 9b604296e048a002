"""Extracts MediaPipe Holistic's landmarks of videos: a program for the environment in which MediaPipe is installed.

It imports nothing of this package. Standard input has a video a line, {"video": path, "out": path}; standard output
answers in lines of JSON: {"ready": MediaPipe's version} once, then for each video {"frame": number, "frames": how many
the file promises} now and then, and the same with "done" in place of "frame", or {"failed": why}.

Dimension legend: T frames, P points (33 of the pose, 468 of the face, 21 of each hand: 543).
"""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

_IMAGES = (".png", ".jpg", ".jpeg", ".bmp")
_SIZES = (("pose_landmarks", 33), ("face_landmarks", 468), ("left_hand_landmarks", 21), ("right_hand_landmarks", 21))
_EVERY = 10
"""Frames between two words on how far it is."""


def main() -> int:
    """Answers until standard input ends."""
    # Libraries print to standard output too: the answers get it for themselves.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        import mediapipe

        holistic = mediapipe.solutions.holistic
    except (ImportError, AttributeError) as error:
        _say(answers, failed=" ".join(str(error).split()))
        return 1
    _say(answers, ready=mediapipe.__version__)
    for line in sys.stdin:
        order = json.loads(line)
        try:
            with holistic.Holistic(static_image_mode=False, model_complexity=1) as model:
                _extract(model, order["video"], order["out"], answers)
        except Exception as error:
            _say(answers, failed=" ".join(str(error).split()) or type(error).__name__)
    return 0


def _say(answers: TextIO, **words: Any) -> None:
    answers.write(json.dumps(words) + "\n")
    answers.flush()


def _extract(model: Any, video: str, out: str, answers: TextIO) -> None:
    """Writes the landmarks [T, 543, 3] of a video, NaN where a part is not seen.

    They are as MediaPipe has them: x and y in widths and heights of the image, whose `size` (in pixels) is kept, too.
    """
    import numpy as np

    rate, promised, images = _opened(video)
    frames, size = [], (0, 0)
    for image in images:
        size = image.shape[1::-1]
        frames.append(_landmarks(model.process(image)))
        if len(frames) % _EVERY == 0:
            _say(answers, frame=len(frames), frames=promised)
    if not frames:
        raise ValueError("no frame can be read")
    # Beside its place, then renamed: a file that is there is whole.
    with open(out + ".partial", "wb") as file:
        np.savez_compressed(file, landmarks=np.stack(frames), layout="mediapipe_holistic", fps=rate, size=size)
    os.replace(out + ".partial", out)
    _say(answers, done=len(frames), frames=promised)


def _landmarks(result: Any) -> Any:
    """[543, 3] of a frame."""
    import numpy as np

    parts = []
    for name, size in _SIZES:
        found = getattr(result, name)
        points = np.full((size, 3), np.nan, dtype=np.float32)
        if found is not None:
            points[:] = [(point.x, point.y, point.z) for point in found.landmark[:size]]
        parts.append(points)
    return np.concatenate(parts)


def _opened(path: str) -> tuple[float, int, Iterator[Any]]:
    """Frames a second (0: not told), how many frames there should be (0: not told), and the frames in RGB."""
    import cv2

    if os.path.isdir(path):
        names = sorted(name for name in os.listdir(path) if name.lower().endswith(_IMAGES))

        def pictures() -> Iterator[Any]:
            for name in names:
                image = cv2.imread(os.path.join(path, name))
                if image is None:
                    raise ValueError(f"{name} is no image")
                yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

        return 0.0, len(names), pictures()
    capture = cv2.VideoCapture(path)
    if not capture.isOpened():
        raise ValueError("it cannot be opened as a video")

    def frames() -> Iterator[Any]:
        try:
            while True:
                is_read, image = capture.read()
                if not is_read:
                    return
                yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        finally:
            capture.release()

    return capture.get(cv2.CAP_PROP_FPS), max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0), frames()


if __name__ == "__main__":
    sys.exit(main())
