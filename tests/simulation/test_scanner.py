import numpy as np
import pytest
from numpy.testing import assert_allclose

from lidar_rank.simulation.beams import (
    BEAM_ELEVATION_DEG,
    BEAM_ORIGIN_M,
    FULL_TURN_DEG,
    MAX_RANGE_M,
    camera_window_deg,
    firing_rays,
)
from lidar_rank.simulation.camera import IMAGE_SIZE, KITTI_CALIBRATION
from lidar_rank.simulation.materials import Material
from lidar_rank.simulation.mesh import Mesh, box, join
from lidar_rank.simulation.scanner import Scene, build_scene, cast, scan

AHEAD_DEG = np.tile([-20.0, 20.0], (64, 1))


def scene_of(*meshes: Mesh, albedo: float = 0.3) -> Scene:
    mesh = join(meshes)
    triangles = len(mesh.triangles)
    return build_scene(mesh, np.full(triangles, -1), np.full(triangles, albedo, np.float32))


def wall_at(x: float, material: Material = Material.PLASTER, half: float = 60.0) -> Mesh:
    return box((x, -half, -half), (x + 0.5, half, half), material)


def test_rays_meet_the_nearer_of_two_triangles_or_nothing():
    corners = np.array([[4, -1, -1], [4, 1, -1], [5, 0, 1], [8, -9, -9], [8, 9, -9], [8, 0, 9]], np.float32)
    triangles = np.array([[3, 4, 5], [0, 1, 2]], np.uint32)
    scene = scene_of(Mesh(corners, triangles, np.zeros(2, np.uint8)))
    towards = np.array([[1, 0, 0], [4, 0, -1], [1, 0.3, 0.3], [-1, 0, 0]], np.float32)
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    hits = cast(scene, np.concatenate([np.zeros_like(towards), towards], 1))
    assert hits.triangle.tolist() == [1, 1, 0, -1]
    # The near plane is 2 x - z = 9; the far one is x = 8.
    assert_allclose(hits.range_m, [4.5, np.hypot(4, 1), 8 * np.sqrt(1.18), np.inf], rtol=1e-6)
    near = np.array([2, 0, -1]) / np.sqrt(5)
    assert_allclose(np.abs(hits.normal), np.abs([near, near, [1, 0, 0], [0, 0, 0]]), atol=1e-6)
    assert_allclose(hits.cosine, [*np.abs(towards[:2] @ near), 1 / np.sqrt(1.18), 0], atol=1e-6)
    assert scene.is_occluded(np.concatenate([np.zeros_like(towards), towards], 1)).tolist() == [True, True, True, False]


def test_beams_are_those_of_the_hdl_64e():
    upper, lower = np.diff(BEAM_ELEVATION_DEG[:32]), np.diff(BEAM_ELEVATION_DEG[32:])
    assert_allclose([upper.mean(), lower.mean()], [-1 / 3, -1 / 2], atol=0.02)
    assert_allclose([BEAM_ELEVATION_DEG[0], BEAM_ELEVATION_DEG[-1]], [2, -24.8], atol=0.25)


def test_points_lie_on_their_beam_at_the_range_of_the_wall():
    points, owner = scan(scene_of(wall_at(10.0)), np.random.default_rng(0), AHEAD_DEG)
    assert (owner == -1).all()
    assert_allclose(points[:, 0].mean(), 10.0, atol=0.005)
    assert 0.01 < points[:, 0].std() < 0.04
    reach = np.hypot(points[:, 0], points[:, 1])[:, None]
    miss = np.abs(points[:, 2:3] - BEAM_ORIGIN_M - reach * np.tan(np.radians(BEAM_ELEVATION_DEG)))
    assert miss.min(1).max() < 2e-3, "noise is along the beam; files round to the millimetre"


def test_noise_has_a_part_per_pulse_and_a_part_per_beam():
    points, _ = scan(scene_of(wall_at(10.0)), np.random.default_rng(0), np.tile([0.2, 1.8], (64, 1)))
    reach = np.hypot(points[:, 0], points[:, 1])[:, None]
    beam = np.abs(points[:, 2:3] - BEAM_ORIGIN_M - reach * np.tan(np.radians(BEAM_ELEVATION_DEG))).argmin(1)
    of_beam = [points[beam == k, 0] for k in range(64)]
    assert 0.006 < np.mean([x.std() for x in of_beam]) < 0.018, "within two degrees of one beam"
    assert 0.015 < np.std([x.mean() for x in of_beam]) < 0.03, "from beam to beam"


def test_files_hold_beam_after_beam_each_with_rising_azimuth():
    points, _ = scan(scene_of(wall_at(10.0), wall_at(-10.5)), np.random.default_rng(0), FULL_TURN_DEG)
    azimuth = np.arctan2(points[:, 1], points[:, 0]) % (2 * np.pi)
    ring = np.concatenate([[0], np.cumsum(np.diff(azimuth) < -np.pi)])
    reach = np.hypot(points[:, 0], points[:, 1])
    expected = BEAM_ORIGIN_M[ring] + reach * np.tan(np.radians(BEAM_ELEVATION_DEG[ring]))
    assert ring.max() == 63
    assert_allclose(points[:, 2], expected, atol=2e-3)


def test_a_turn_has_the_firings_of_the_sensor_and_begins_at_another_angle_each_time():
    first, beam = firing_rays(np.random.default_rng(0), FULL_TURN_DEG)
    second, _ = firing_rays(np.random.default_rng(1), FULL_TURN_DEG)
    assert_allclose(np.bincount(beam), 2155)
    assert_allclose(np.linalg.norm(first[:, 3:], axis=1), 1, atol=1e-6)
    assert not np.allclose(first[0], second[0])


def test_intensity_comes_in_hundredths_and_follows_the_albedo():
    means = []
    for albedo in (0.15, 0.3, 0.6):
        points, _ = scan(scene_of(wall_at(10.0), albedo=albedo), np.random.default_rng(0), AHEAD_DEG)
        assert_allclose(points[:, 3] * 100, np.round(points[:, 3] * 100), atol=1e-4)
        assert points[:, 3].min() >= 0
        assert points[:, 3].max() < 1
        means.append(points[:, 3].mean())
    assert means[0] < means[1] < means[2]


def test_intensity_falls_with_range():
    near, far = (
        scan(scene_of(wall_at(x, half=90), albedo=0.5), np.random.default_rng(0), AHEAD_DEG)[0] for x in (12.0, 60.0)
    )
    assert far[:, 3].mean() < near[:, 3].mean() - 0.15


def test_weak_returns_read_zero_and_strong_ones_do_not():
    """Far away, a real sensor hardly ever reports small intensities: a return reads 0 or clearly more."""

    def intensities(x: float, albedo: float) -> np.ndarray:
        points, _ = scan(scene_of(wall_at(x, half=90), albedo=albedo), np.random.default_rng(0), AHEAD_DEG)
        assert len(points) > 10_000
        return points[:, 3]

    weak = intensities(40.0, 0.3)
    assert 0.5 < (weak == 0).mean() < 0.9
    assert ((weak > 0) & (weak < 0.035)).mean() < 0.01
    assert (intensities(10.0, 0.5) > 0).all()


def test_more_returns_are_lost_far_away_and_on_grazed_or_dark_surfaces():
    def share(mesh: Mesh, albedo: float) -> float:
        points, _ = scan(scene_of(mesh, albedo=albedo), np.random.default_rng(0), AHEAD_DEG)
        return len(points) / len(firing_rays(np.random.default_rng(0), AHEAD_DEG)[0])

    near, far = share(wall_at(10.0), 0.3), share(wall_at(65.0, half=90), 0.3)
    dark_near, dark_far = (share(wall_at(x, Material.PAINT), 0.02) for x in (10.0, 40.0))
    assert near > 0.98
    assert far < near - 0.03
    assert dark_far < dark_near - 0.3
    assert dark_near < near


def test_a_scene_out_of_range_gives_no_points():
    points, owner = scan(scene_of(wall_at(MAX_RANGE_M + 1)), np.random.default_rng(0), AHEAD_DEG)
    assert points.shape == (0, 4)
    assert points.dtype == np.float32
    assert owner.shape == (0,)


def test_glass_lets_most_pulses_through_and_walls_none():
    def share_behind(material: Material) -> float:
        pane = box((10, -9, -9), (10.01, 9, 9), material)
        points, _ = scan(scene_of(pane, wall_at(20.0)), np.random.default_rng(0), AHEAD_DEG)
        return float((points[:, 0] > 15).mean())

    assert share_behind(Material.GLASS) > 0.7
    assert share_behind(Material.PLASTER) == 0


def test_own_vehicle_is_never_reported():
    points, _ = scan(scene_of(wall_at(2.0, Material.EGO)), np.random.default_rng(0), AHEAD_DEG)
    assert len(points) == 0


@pytest.mark.parametrize("range_m", [2.5, 4.0, 7.0, 15.0, 79.0])
def test_front_window_misses_no_ray_that_can_reach_the_image(range_m):
    rays, beam = firing_rays(np.random.default_rng(3), FULL_TURN_DEG)
    in_image = KITTI_CALIBRATION.in_image((rays[:, :3] + range_m * rays[:, 3:]).astype(np.float64), IMAGE_SIZE)
    window = camera_window_deg(KITTI_CALIBRATION)[beam]
    azimuth = np.degrees(np.arctan2(rays[:, 4], rays[:, 3]))
    assert in_image.sum() > 10_000
    assert (in_image <= ((azimuth >= window[:, 0]) & (azimuth < window[:, 1]))).all()
