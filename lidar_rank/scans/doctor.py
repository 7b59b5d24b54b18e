"""Why a network that was trained on KITTI finds little in other scans: what differs, and what mends it.

What is expected was measured on 83 scans of KITTI's training set, of which none has a finding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy import ndarray

from lidar_rank.geometry import points_in_boxes
from lidar_rank.geometry.boxes import wrap_angle
from lidar_rank.scans.frame import KITTI_HEIGHT_M, SensorFrame
from lidar_rank.scans.ground import Ground, find_ground
from lidar_rank.shapes import Float

MEDIAN_RANGE_M: Final = (1.5, 60.0)  # KITTI: 4.0 to 14.3
UNITS_M: Final = (1.0, 0.01, 0.001, 1000.0)
MIN_ELEVATIONS_DEG: Final = 1.0  # from the lowest to the highest points; KITTI: 22
UPSIDE_DOWN_M: Final = 0.2  # below the road, which may pass through the origin itself
FAR_FROM_ORIGIN: Final = 10.0  # of the middle of the points, in their median distances from it; KITTI: below 1
HEIGHT_TOLERANCE_M: Final = 0.55  # KITTI: 1.34 to 2.23 in a scan
HEIGHT_TOLERANCE_OF_MANY_M: Final = 0.3  # of the median of five scans and more
MANY: Final = 5
MAX_TILT_DEG: Final = 8.0  # KITTI: at most 5.5
CLEARER: Final = 0.15  # an axis is up only if so much more of the near points lie on its ground
MAX_GAP_DEG: Final = 0.6  # KITTI: 0.33 to 0.38, as the columns of two groups of beams mix
FIELD_OF_VIEW_DEG: Final = 80.0  # of KITTI's camera, in front
BAND_M: Final = 10.0
# 5 % quantiles of the number of points in front in 10 m wide bands, up to 70 m, of KITTI's scans.
POINTS_IN_BANDS: Final = (11784, 5429, 947, 192, 97, 23, 16)
FEW: Final = 0.33  # of those
# What KITTI's networks see: distance from the sensor, and heights in its frame.
RANGE_M, LOWEST_M, HIGHEST_M = 70.4, -3.0, 1.0
MAX_SCANS: Final = 20  # of one sensor say as much as thousands
MIN_BOXES: Final = 20
BETTER: Final = 0.08


@dataclass(frozen=True)
class Finding:
    """Something that differs from the scans that networks are trained on.

    Attributes:
        problem: What was measured.
        expected: What it is in KITTI's scans.
        remedy: What to do.
    """

    problem: str
    expected: str
    remedy: str


@dataclass(frozen=True, eq=False)
class Scan:
    """Measures of one scan.

    Attributes:
        count: Number of points.
        median_range_m: Median distance from the origin, which should be the sensor.
        middle_m: Median x and y.
        spread_m: Median distance from there.
        ground: By the axis that is taken as up, such as ``"-y"``.
        intensity: 1 %, 50 % and 99 % quantiles and the maximum.
        gap_deg: Median angle between neighbouring points of a column; NaN where there are none.
        elevation_deg: 1 % and 99 % quantiles.
        azimuth_deg: Centre and width of the directions that hold points.
        points_in_bands: Number of points in front, by distance in bands of 10 m.
        share_in_range: Share of the points that a network sees that is turned into every direction.
    """

    count: int
    median_range_m: float
    middle_m: Float[ndarray, "2"]
    spread_m: float
    ground: dict[str, Ground | None]
    intensity: Float[ndarray, "4"]
    gap_deg: float
    elevation_deg: Float[ndarray, "2"]
    azimuth_deg: tuple[float, float]
    points_in_bands: Float[ndarray, " band"]
    share_in_range: float


# Columns and sign of the third that make an axis point up, with a right-handed frame.
_UP: Final = {
    "z": ((0, 1, 2), 1),
    "-z": ((1, 0, 2), -1),
    "y": ((2, 0, 1), 1),
    "-y": ((0, 2, 1), -1),
    "x": ((1, 2, 0), 1),
    "-x": ((2, 1, 0), -1),
}


def measure_scan(points: Float[ndarray, "point 4"]) -> Scan:
    """Measure a scan: x, y, z in metres and intensity."""
    horizontal = np.hypot(points[:, 0], points[:, 1])
    middle_m = np.median(points[:, :2], axis=0)
    azimuth_deg = np.degrees(np.arctan2(points[:, 1], points[:, 0]))
    elevation_deg = np.degrees(np.arctan2(points[:, 2], horizontal))
    in_front = horizontal[np.abs(azimuth_deg) < FIELD_OF_VIEW_DEG / 2]
    bands = np.arange(len(POINTS_IN_BANDS) + 1) * BAND_M
    in_range = (horizontal < RANGE_M) & (points[:, 2] > LOWEST_M) & (points[:, 2] < HIGHEST_M)
    return Scan(
        count=len(points),
        median_range_m=float(np.median(horizontal)),
        middle_m=middle_m,
        spread_m=float(np.median(np.hypot(*(points[:, :2] - middle_m).T))),
        ground={
            up: find_ground(points[:, list(columns)] * np.array([1, 1, sign], np.float32))
            for up, (columns, sign) in _UP.items()
        },
        intensity=np.append(np.quantile(points[:, 3], [0.01, 0.5, 0.99]), points[:, 3].max()),
        gap_deg=_vertical_gap(azimuth_deg, elevation_deg, horizontal),
        elevation_deg=np.quantile(elevation_deg, [0.01, 0.99]),
        azimuth_deg=_covered(azimuth_deg),
        points_in_bands=np.histogram(in_front, bands)[0].astype(np.float64),
        share_in_range=float(in_range.mean()),
    )


def _vertical_gap(azimuth_deg: ndarray, elevation_deg: ndarray, range_m: ndarray) -> float:
    """Median angle between neighbours of a column of 0.3 degrees; half the spacing of beams where columns mix two."""
    far = range_m > 5
    column = np.floor(azimuth_deg[far] / 0.3)
    order = np.lexsort((elevation_deg[far], column))
    gaps = np.diff(elevation_deg[far][order])[np.diff(column[order]) == 0]
    return float(np.median(gaps[gaps > 0.01])) if (gaps > 0.01).any() else np.nan


def _covered(azimuth_deg: ndarray) -> tuple[float, float]:
    """Centre and width of the directions with points: what remains beside the widest empty sector."""
    hit = np.flatnonzero(np.histogram(azimuth_deg, np.arange(-180, 181, 2))[0])
    gap = np.diff(np.append(hit, hit[0] + 180))
    widest = int(np.argmax(gap))
    width = 360.0 - 2.0 * (gap[widest] - 1)
    start = -180.0 + 2.0 * hit[(widest + 1) % len(hit)]
    return float(wrap_angle(start + width / 2, -180.0, 360.0)), float(width)


def examine_scans(scans: Sequence[Scan], frame: SensorFrame | None = None, unit_m: float = 1.0) -> list[Finding]:
    """Compare scans of one sensor with KITTI's; the medians over the scans count.

    A finding that makes the others meaningless, such as another unit of length, is returned alone.

    Args:
        scans: Measures of scans that were moved into KITTI's frame.
        frame: From which frame; the remedies name options that replace its values.
        unit_m: Unit of length with which they were read.
    """
    frame = frame or SensorFrame()
    distance = np.median([np.hypot(*scan.middle_m) / scan.spread_m for scan in scans if scan.spread_m] or [0.0])
    if distance > FAR_FROM_ORIGIN:
        x_m, y_m = np.median([scan.middle_m for scan in scans], axis=0)
        return [
            Finding(
                f"the points lie around x = {x_m:.0f}, y = {y_m:.0f}",
                "around the sensor, which is the origin",
                "subtract the sensor's position from the points",
            )
        ]
    range_m = float(np.median([scan.median_range_m for scan in scans]))
    alone = _examine_unit(range_m, unit_m) or _examine_elevations(scans) or _examine_up_axis(scans)
    if alone:
        return alone
    return [
        *_examine_range(range_m),
        *_examine_height(scans, frame),
        *_examine_direction(scans, frame),
        *_examine_intensity(scans, frame),
        *_examine_beams(scans),
        *_examine_density(scans),
    ]


def _examine_unit(range_m: float, unit_m: float) -> list[Finding]:
    unread = range_m / unit_m
    fitting = [unit for unit in UNITS_M if _is_usual(unread * unit)]
    if _is_usual(range_m) or not fitting:
        return []
    unit = min(fitting, key=lambda unit: abs(np.log(unread * unit / 10)))
    return [
        Finding(
            f"the median distance of the points is {range_m:g} m",
            "4 to 14 m",
            f"the unit of length is another: --unit {unit:g} makes it {unread * unit:.1f} m",
        )
    ]


def _is_usual(range_m: float) -> bool:
    return MEDIAN_RANGE_M[0] < range_m < MEDIAN_RANGE_M[1]


def _examine_range(range_m: float) -> list[Finding]:
    if _is_usual(range_m):
        return []
    return [
        Finding(
            f"the median distance of the points is {range_m:g} m, which no usual unit of length explains",
            "4 to 14 m",
            "networks know objects 5 to 50 m away in streets: train on scans of this kind",
        )
    ]


def _examine_elevations(scans: Sequence[Scan]) -> list[Finding]:
    low_deg, high_deg = np.median([scan.elevation_deg for scan in scans], axis=0)
    if high_deg - low_deg > MIN_ELEVATIONS_DEG:
        return []
    return [
        Finding(
            f"the elevations of the points differ by {high_deg - low_deg:.1f} degrees, as those of a single beam",
            "64 beams from -25 to 2 degrees",
            "give scans of a sensor with several beams: objects have no height in these",
        )
    ]


def _examine_up_axis(scans: Sequence[Scan]) -> list[Finding]:
    share = {up: np.median([ground.share if (ground := scan.ground[up]) else 0.0 for scan in scans]) for up in _UP}
    height_m = np.median([ground.height_m if (ground := scan.ground["z"]) else np.nan for scan in scans])
    other = max((up for up in _UP if up[-1] != "z"), key=lambda up: share[up])
    upside_down = max(share["z"], share["-z"]) > share[other] and height_m < -UPSIDE_DOWN_M
    if not upside_down and share[other] <= max(share["z"], share["-z"]) + CLEARER:
        return []
    up = "-z" if upside_down else _pointing_up(other, scans)
    turns = {
        "-y": "points[:, [2, 0, 1]] * [1, -1, -1] (from a camera's axes: x right, y down, z forward)",
        "y": "points[:, [2, 0, 1]] (from axes with y up and z forward)",
        "-z": "points[:, :3] * [1, -1, -1] (turn by half about x)",
        "x": "points[:, [1, 2, 0]]",
        "-x": "points[:, [2, 1, 0]] * [1, 1, -1]",
    }
    return [
        Finding(
            f"the road is found along {up}: up is {up}, not z",
            "x forward, y left, z up",
            f"turn the points: {turns[up]}",
        )
    ]


def _pointing_up(axis: str, scans: Sequence[Scan]) -> str:
    """``axis`` with the sign that puts the road below the sensor."""
    positive = axis[-1]
    heights = [ground.height_m for scan in scans if (ground := scan.ground[positive])]
    return positive if heights and np.median(heights) > 0 else f"-{positive}"


def _examine_height(scans: Sequence[Scan], frame: SensorFrame) -> list[Finding]:
    grounds = [ground for scan in scans if (ground := scan.ground["z"])]
    if not grounds:
        return [
            Finding(
                "no road is found within 10 m of the sensor",
                "a road 1.73 m below it",
                "give the height of the sensor above the road: --height M",
            )
        ]
    findings = []
    height_m = float(np.median([ground.height_m for ground in grounds]))
    tolerance_m = HEIGHT_TOLERANCE_OF_MANY_M if len(grounds) >= MANY else HEIGHT_TOLERANCE_M
    if abs(height_m - KITTI_HEIGHT_M) > tolerance_m:
        own_height_m = height_m + frame.height_m - KITTI_HEIGHT_M
        # A vehicle's axes may begin on the road, and --height is above 0.
        on_road = f"subtract {KITTI_HEIGHT_M - own_height_m:.2f} m from z and leave --height out"
        remedy = f"--height {own_height_m:.2f}" if own_height_m >= 0.01 else on_road
        findings.append(Finding(f"the sensor is {height_m:.2f} m above the road", f"{KITTI_HEIGHT_M} m", remedy))
    tilt_deg = float(np.median([ground.tilt_deg for ground in grounds]))
    if tilt_deg > MAX_TILT_DEG:
        findings.append(
            Finding(
                f"the road is tilted by {tilt_deg:.1f} degrees against x-y",
                f"at most {MAX_TILT_DEG:g} degrees",
                "level the scan with the sensor's mounting angles before it is read",
            )
        )
    return findings


def _examine_direction(scans: Sequence[Scan], frame: SensorFrame) -> list[Finding]:
    centre_deg, width_deg = max((scan.azimuth_deg for scan in scans), key=lambda covered: covered[1])
    if width_deg > 270 or abs(centre_deg) < 30:
        return []
    turn_deg = np.degrees(wrap_angle(frame.rotate_z_rad - np.radians(centre_deg)))
    return [
        Finding(
            f"the points lie in a sector of {width_deg:.0f} degrees around the direction {centre_deg:.0f} degrees",
            "around x, 0 degrees",
            f"if the vehicle drives there: --rotate-z {turn_deg:.0f}",
        )
    ]


def _examine_intensity(scans: Sequence[Scan], frame: SensorFrame) -> list[Finding]:
    low, median, high, highest = np.median([scan.intensity for scan in scans], axis=0).tolist()
    expected = "0 to 1, median 0.18 to 0.32"
    if low < -0.1 * abs(high):
        return [
            Finding(
                f"intensities are negative: 1 % are below {low:.3g}, half below {median:.3g}",
                expected,
                "no scale mends that: bring decibels or signed numbers to 0 to 1 before the scan is read",
            )
        ]
    if high == 0:
        found = "every intensity is 0" if highest == 0 else "99 % of the intensities are 0"
        return [Finding(found, expected, "if the file has other intensities, name its columns: --columns")]
    if highest > 1.5:
        # Sensors count in 8 or 16 bits, or in per cent.
        limit = next((limit for limit in (100, 255, 4095, 65535) if highest <= limit), high / 0.6)
        return [
            Finding(
                f"intensities reach {highest:g}", expected, f"--intensity-scale {frame.intensity_scale / limit:.3g}"
            )
        ]
    if high < 0.1:
        scale = 0.6 / high * frame.intensity_scale
        return [Finding(f"99 % of the intensities are below {high:.3g}", expected, f"--intensity-scale {scale:.3g}")]
    return []


def _examine_beams(scans: Sequence[Scan]) -> list[Finding]:
    gap_deg = _median_gap(scans)
    if not gap_deg > MAX_GAP_DEG:
        return []
    low_deg, high_deg = np.median([scan.elevation_deg for scan in scans], axis=0)
    return [
        Finding(
            f"beams are {gap_deg:.2f} degrees apart, about {(high_deg - low_deg) / gap_deg + 1:.0f} of them from"
            f" {low_deg:.0f} to {high_deg:.0f} degrees",
            "0.4 degrees, 64 beams from -25 to 2 degrees",
            "far objects have few points: expect less beyond 20 m, and train on scans of this sensor",
        )
    ]


def _examine_density(scans: Sequence[Scan]) -> list[Finding]:
    points = np.median([scan.points_in_bands for scan in scans], axis=0)
    few = [band for band, (got, usual) in enumerate(zip(points, POINTS_IN_BANDS, strict=True)) if got < FEW * usual]
    if not few or few[0] >= 3:  # beyond 30 m scenes differ more than sensors
        return []
    band = few[0]
    return [
        Finding(
            f"{points[band]:.0f} points in front between {band * BAND_M:.0f} and {(band + 1) * BAND_M:.0f} m",
            f"{POINTS_IN_BANDS[band]} and more",
            "give whole scans, not reduced ones; otherwise train on scans of this sensor",
        )
    ]


def _median_gap(scans: Sequence[Scan]) -> float:
    """Median angle between beams in degrees; NaN where no scan has two points above each other."""
    gaps_deg = [scan.gap_deg for scan in scans if np.isfinite(scan.gap_deg)]
    return float(np.median(gaps_deg)) if gaps_deg else np.nan


# What may be wrong with boxes, and the change that undoes it.
_MISTAKES: Final[dict[str, Callable[[ndarray], ndarray]]] = {
    "z is the centre of the box, not of its bottom": lambda box: box - [0, 0, 0.5 * box[5], 0, 0, 0, 0],
    "length and width are swapped": lambda box: box[[0, 1, 2, 4, 3, 5, 6]],
    "sizes are height, width, length": lambda box: box[[0, 1, 2, 5, 4, 3, 6]],
    "yaw is measured clockwise": lambda box: box * [1, 1, 1, 1, 1, 1, -1],
    "yaw starts at the y axis": lambda box: box + np.array([0, 0, 0, 0, 0, 0, np.pi / 2]),
    "left and right are swapped": lambda box: box * [1, -1, 1, 1, 1, 1, -1],
    "boxes are in a camera's axes (x right, y down, z forward)": lambda box: np.array(
        [box[2], -box[0], -box[1], *box[3:6], -box[6] - np.pi / 2]
    ),
    "boxes are in the LiDAR's axes, and were converted from a camera's": lambda box: np.array(
        [-box[1], -box[2], box[0], *box[3:6], -box[6] - np.pi / 2]
    ),
}
_SURROUNDINGS_M: Final = np.array([1.5, 1.5, 1.0])  # around a box, and above it
_ABOVE_ROAD_M: Final = 0.25


def examine_boxes(scans: Sequence[ndarray], boxes: Sequence[Float[ndarray, "box 7"]]) -> list[Finding]:
    """Test whether labelled boxes fit the points, and which mistake would explain it if they do not.

    Args:
        scans: Points (x, y, z, ...) of each frame.
        boxes: (x, y, z_bottom, length, width, height, yaw) of each frame's objects.

    Returns:
        At most one finding: the mistake whose correction fits best, if it fits clearly better.
    """
    if sum(map(len, boxes)) < MIN_BOXES:
        return []
    given = _fit(scans, boxes)
    corrected = {
        mistake: _fit(scans, [np.array([undo(box) for box in frame]).reshape(-1, 7) for frame in boxes])
        for mistake, undo in _MISTAKES.items()
    }
    # A better fit has a larger share of the points near its boxes inside them, and more points inside.
    score = {mistake: fit.share * fit.inside / max(given.inside, 1) for mistake, fit in corrected.items()}
    best = max(score, key=lambda mistake: score[mistake])
    found = (
        f"{100 * given.empty:.0f} % of the labelled boxes hold no points, and {100 * given.share:.0f} % of the points"
        " near boxes are inside"
    )
    if score[best] > given.share + BETTER:
        gain = f"correcting that puts {corrected[best].inside} points inside boxes instead of {given.inside}"
        return [Finding(found, "2 % and 85 %", f"{best}: {gain}")]
    if given.empty > 0.5:
        return [Finding(found, "2 % and 85 %", "check that labels and scans are of the same frames")]
    return []


@dataclass(frozen=True)
class _Fit:
    inside: int  # points above the road in boxes
    share: float  # of the points in and around boxes
    empty: float  # share of the boxes that hold no points


def _fit(scans: Sequence[ndarray], boxes: Sequence[ndarray]) -> _Fit:
    """How well boxes fit the points."""
    inside = around = empty = total = 0
    for points, frame in zip(scans, boxes, strict=True):
        if not len(frame):
            continue
        raised = frame.copy()
        raised[:, 2] += _ABOVE_ROAD_M
        raised[:, 5] = np.maximum(frame[:, 5] - _ABOVE_ROAD_M, 0.1)
        raised[:, 6] = wrap_angle(raised[:, 6])
        wide = raised.copy()
        wide[:, 3:6] += _SURROUNDINGS_M
        counts = points_in_boxes(points, raised).sum(axis=1)
        inside += int(counts.sum())
        around += int(points_in_boxes(points, wide).sum())
        empty += int((counts == 0).sum())
        total += len(frame)
    return _Fit(inside, inside / max(around, 1), empty / max(total, 1))


def format_measures(scans: Sequence[Scan]) -> str:
    """Return a table for people: what was measured, beside what KITTI's scans have."""
    grounds = [ground for scan in scans if (ground := scan.ground["z"])]
    height_m = f"{np.median([ground.height_m for ground in grounds]):.2f} m" if grounds else "no road found"
    gap_deg = _median_gap(scans)
    intensity = np.median([scan.intensity for scan in scans], axis=0)
    low_deg, high_deg = np.median([scan.elevation_deg for scan in scans], axis=0)
    bands = np.median([scan.points_in_bands for scan in scans], axis=0)
    rows = [
        ("", "median of " + str(len(scans)) if len(scans) > 1 else "this scan", "KITTI"),
        ("points", f"{np.median([scan.count for scan in scans]):.0f}", "120,000"),
        ("median distance", f"{np.median([scan.median_range_m for scan in scans]):.1f} m", "4 to 14 m"),
        ("height above the road", height_m, f"{KITTI_HEIGHT_M} m"),
        ("intensity, median and highest", f"{intensity[1]:.3g}, {intensity[3]:.3g}", "0.28, 0.99"),
        ("angle between beams", "unknown" if np.isnan(gap_deg) else f"{gap_deg:.2f} deg", "0.36 deg"),
        ("elevation", f"{low_deg:.0f} to {high_deg:.0f} deg", "-19 to 3 deg"),
        ("directions", f"{np.median([scan.azimuth_deg[1] for scan in scans]):.0f} deg", "360 deg"),
        ("within the network's range", f"{100 * np.median([scan.share_in_range for scan in scans]):.0f} %", "97 %"),
    ]
    for band, usual in enumerate(POINTS_IN_BANDS[:4]):
        distance = f"in front, {band * BAND_M:.0f} to {(band + 1) * BAND_M:.0f} m"
        rows.append((distance, f"{bands[band]:.0f}", f"at least {usual}"))
    return "\n".join(f"{name:<30} {got:>16}   {usual}" for name, got, usual in rows)


def format_findings(findings: Sequence[Finding]) -> str:
    """Return findings for people, or that there are none."""
    if not findings:
        return "nothing found that keeps a network from working on such scans"
    return "\n".join(f"! {finding.problem}\n  expected: {finding.expected}\n  {finding.remedy}" for finding in findings)
