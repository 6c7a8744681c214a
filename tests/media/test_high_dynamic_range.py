"""Decoded frames as sRGB, against colours coded by the standards' own formulas."""

import subprocess

import av
import imageio_ffmpeg
import numpy as np
import pytest

from nerfstudio_avatars.media.video_file import VideoFile, to_rgb

COLOURS = np.array(
    [[200, 60, 40], [30, 180, 90], [40, 60, 190], [128, 128, 128], [224, 180, 150], [90, 60, 50], [10, 10, 10]]
)
LUMA = {5: (0.299, 0.114), 1: (0.2126, 0.0722), 9: (0.2627, 0.0593)}
"""Red's and blue's share for BT.601, BT.709 and BT.2020, by their numbers in ITU-T H.273."""
TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
"""BT.2087, table of M2: linear BT.709 -> linear BT.2020."""
BITS = {"yuv444p": 8, "yuv444p10le": 10}


def _frame(coded, matrix, full=False, layout="yuv444p10le", **tags):
    """Non-linear R'G'B', one row a colour -> a frame with a column of 16 pixels for each."""
    bits = BITS[layout]
    red, blue = LUMA[matrix]
    y = coded @ [red, 1 - red - blue, blue]
    u, v = (coded[:, 2] - y) / (2 * (1 - blue)), (coded[:, 0] - y) / (2 * (1 - red))
    if full:
        most = 2**bits - 1
        planes = (y * most, u * most + 2 ** (bits - 1), v * most + 2 ** (bits - 1))
    else:
        planes = tuple(
            (part + offset) * 2 ** (bits - 8) for part, offset in ((219 * y, 16), (224 * u, 128), (224 * v, 128))
        )
    frame = av.VideoFrame(16 * len(coded), 16, layout)
    for plane, values in zip(frame.planes, planes, strict=True):
        row = np.round(values).clip(0, 2**bits - 1).astype(np.uint8 if bits == 8 else "<u2").repeat(16)
        lines = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size).copy()
        lines[:, : row.nbytes] = row.view(np.uint8)
        plane.update(lines.tobytes())
    frame.colorspace, frame.color_range = matrix, 2 if full else 1
    for name, value in tags.items():
        setattr(frame, name, value)
    return frame


def _shown(frame):
    return to_rgb(frame)[8, 8::16].astype(int)


def _linear(srgb):
    x = srgb / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def _hlg(nits):
    """BT.2100: display light of a screen of 1000 cd/m2 -> signal."""
    y = nits @ [0.2627, 0.6780, 0.0593]
    scene = nits / 1000 * (np.maximum(y, 1e-9) / 1000)[:, None] ** ((1 - 1.2) / 1.2)
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)


def _pq(nits):
    """SMPTE ST 2084."""
    power = (nits / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


CURVES = {"HLG": (_hlg, 18), "PQ": (_pq, 16)}


@pytest.mark.parametrize("matrix", LUMA)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("layout", BITS)
def test_every_matrix_range_and_depth_gives_the_colours_that_were_coded(matrix, full, layout):
    shown = _shown(_frame(COLOURS / 255, matrix, full, layout))
    assert np.abs(shown - COLOURS).max() <= 2


@pytest.mark.parametrize("kind", CURVES)
@pytest.mark.parametrize("full", [False, True])
def test_what_an_ordinary_screen_shows_keeps_its_colours_in_hdr(kind, full):
    """SDR put into HDR as BT.2408 says, with white at 203 cd/m2."""
    curve, number = CURVES[kind]
    coded = curve(203 * _linear(COLOURS) @ TO_2020.T)
    shown = _shown(_frame(coded, 9, full, color_trc=number, color_primaries=9))
    assert np.abs(shown - COLOURS).max() <= 4
    # Read as they stand, these would be far off.
    untold = _shown(_frame(coded, 9, full))
    assert np.abs(untold - COLOURS).mean() > 15


@pytest.mark.parametrize("kind", CURVES)
def test_highlights_stay_in_order_and_below_white_and_grey_stays_grey(kind):
    curve, number = CURVES[kind]
    nits = np.array([50, 100, 203, 300, 400, 600, 800, 1000.0])[:, None].repeat(3, 1)
    shown = _shown(_frame(curve(nits), 9, color_trc=number, color_primaries=9))
    assert (np.ptp(shown, axis=1) <= 1).all()
    assert (
        (np.diff(shown[:6, 0]) > 0).all()
        and (np.diff(shown[:, 0]) >= 0).all()
        and 235 <= shown[2, 0] <= 250
        and shown[-1, 0] <= 255
    )


@pytest.mark.parametrize(("primaries", "to"), [(9, TO_2020)])
def test_wide_primaries_without_hdr_are_brought_to_srgb(primaries, to):
    linear = _linear(COLOURS) @ to.T
    coded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    shown = _shown(_frame(coded, 9, color_trc=1, color_primaries=primaries))
    assert np.abs(shown[:-1] - COLOURS[:-1]).max() <= 4 and np.abs(shown[3] - 128).max() <= 2


def _encode(path, filters, *codec):
    """A film of the colours, each a square of 128 pixels, through ffmpeg's filters, and what our reader makes of it."""
    chart = COLOURS.astype(np.uint8)[None].repeat(128, 0).repeat(128, 1)
    size = f"{chart.shape[1]}x{chart.shape[0]}"
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size]
    command = [*ffmpeg, "-i", "-", "-vf", filters, "-c:v", *codec, path]
    done = subprocess.run(command, input=chart.tobytes() * 3, capture_output=True, check=False)
    if b"No such filter" in done.stderr or b"Unknown encoder" in done.stderr:
        pytest.skip("this build of ffmpeg lacks zimg or x265")
    assert done.returncode == 0, done.stderr
    return VideoFile(path).picture(1).rgb[64, 64::128].astype(int)


@pytest.mark.parametrize(("transfer", "number"), [("smpte2084", 16), ("arib-std-b67", 18)])
def test_a_phones_hdr_film_is_what_zimg_and_x265_made_it_of(tmp_path, transfer, number):
    """HEVC Main 10 in BT.2020, with SDR's white at 203 cd/m2: zimg's curves and matrices are another's work."""
    linear = "format=gbrp,zscale=tin=iec61966-2-1:pin=709:min=gbr:rin=full:t=linear:p=709:m=gbr:r=full:npl=203"
    # Without `agamma=0`, zimg's HLG takes its system gamma for each channel alone, which BT.2100 does not.
    coded = f"p=2020:t={transfer}:m=2020_ncl:r=limited:npl=203:agamma=0"
    wide = f"format=gbrpf32le,zscale=tin=linear:pin=709:min=gbr:rin=full:{coded},format=yuv420p10le"
    tags = ("-color_trc", transfer, "-color_primaries", "bt2020", "-colorspace", "bt2020nc", "-tag:v", "hvc1")
    x265 = ("libx265", "-x265-params", "log-level=none:crf=4:pools=1")
    shown = _encode(tmp_path / "phone.mov", f"{linear},{wide}", *x265, *tags)
    with av.open(str(tmp_path / "phone.mov")) as film:
        frame = next(film.decode(video=0))
    assert (frame.format.name, frame.color_trc, frame.color_primaries) == ("yuv420p10le", number, 9)
    assert np.abs(shown - COLOURS).max() <= 3


@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("reach", ["full", "limited"])
def test_a_films_matrix_and_range_are_those_it_says(tmp_path, matrix, reach):
    filters = f"scale=out_color_matrix={matrix}:out_range={reach},format=yuv444p"
    tags = ("-colorspace", {"bt601": "smpte170m"}.get(matrix, matrix), "-color_range", {"full": "pc"}.get(reach, "tv"))
    shown = _encode(tmp_path / "film.mp4", filters, "libx264", "-crf", "1", *tags)
    assert np.abs(shown - COLOURS).max() <= 3
