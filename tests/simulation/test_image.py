from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from lidar_rank.simulation.builder import World
from lidar_rank.simulation.camera import KITTI_CALIBRATION, camera_rays
from lidar_rank.simulation.image import render
from lidar_rank.simulation.materials import Material
from lidar_rank.simulation.mesh import Mesh, box, join
from lidar_rank.simulation.scanner import build_scene, cast


@pytest.fixture(scope="module")
def world() -> World:
    """Grey ground and a red block on it, 10 m ahead."""
    ground = box((-50, -80, -2.0), (400, 80, -1.7), Material.ASPHALT)
    block = box((10, -1, -1.7), (12, 1, 0.0), Material.PAINT)
    colour = np.concatenate([np.full((12, 3), 0.5), np.tile([0.8, 0.05, 0.05], (12, 1))]).astype(np.float32)
    scene = build_scene(join([ground, block]), np.repeat([-1, 0], 12), np.full(24, 0.3, np.float32))
    return World(scene, colour, ())


def test_picture_shows_the_block_where_the_calibration_projects_it(world):
    image = render(world, KITTI_CALIBRATION, np.random.default_rng(0)).astype(float)
    (left, bottom), (right, top) = KITTI_CALIBRATION.lidar_to_image(np.array([[10.0, 1, -1.7], [10.0, -1, 0.0]]))[0]
    reddish = image[..., 0] > 1.6 * image[..., 2]
    rows, columns = np.nonzero(reddish)
    assert abs(columns.min() - left) < 2
    assert abs(columns.max() - right) < 2
    assert abs(rows.max() - bottom) < 2
    assert abs(rows.min() - top) < 2
    assert reddish[int(top) + 3 : int(bottom) - 3, int(left) + 3 : int(right) - 3].mean() > 0.95


def test_sky_is_above_and_ground_below(world):
    image = render(world, KITTI_CALIBRATION, np.random.default_rng(0)).astype(float)
    assert image.shape == (375, 1242, 3)
    assert image[:40, :, 2].mean() > image[:40, :, 0].mean() + 5
    ground = image[330:, :300]
    assert abs(ground[..., 0].mean() - ground[..., 2].mean()) < 10
    assert ground.std() > 3


def test_far_ground_fades_into_the_sky(world):
    image = render(world, KITTI_CALIBRATION, np.random.default_rng(0)).astype(float)
    ground = cast(world.scene, pixel_rays())
    distance, is_ground = (x.reshape(375, 1242) for x in (ground.range_m, ground.triangle < 12))
    near, far = (image[is_ground & (distance > low) & (distance < high)].mean(0) for low, high in ((6, 9), (250, 390)))
    assert far[2] - far[0] > near[2] - near[0] + 5, "bluer"
    assert far.mean() > near.mean() + 10, "brighter"


def test_block_throws_a_shadow(world):
    """Ground that is darker than under the same sun without the block."""
    mesh = world.scene.mesh
    bare = Mesh(mesh.vertices, mesh.triangles[:12], mesh.material[:12])
    empty = replace(world, scene=build_scene(bare, np.full(12, -1), np.full(12, 0.3, np.float32)))
    image, without = (render(w, KITTI_CALIBRATION, np.random.default_rng(0)).astype(float) for w in (world, empty))
    is_ground = cast(world.scene, pixel_rays()).triangle.reshape(375, 1242) < 12
    darker = (image.mean(-1) < 0.75 * without.mean(-1)) & is_ground
    assert 500 < darker.sum() < 0.2 * is_ground.sum()


def pixel_rays() -> np.ndarray:
    u, v = np.meshgrid(np.arange(1242) + 0.5, np.arange(375) + 0.5)
    return camera_rays(KITTI_CALIBRATION, np.stack([u.ravel(), v.ravel()], 1))


def test_same_seed_same_picture(world):
    first, second, other = (render(world, KITTI_CALIBRATION, np.random.default_rng(s)) for s in (1, 1, 2))
    assert first.dtype == np.uint8
    assert_array_equal(first, second)
    assert (first != other).any()
