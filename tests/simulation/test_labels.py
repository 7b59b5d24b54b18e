from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lidar_rank.kitti.labels import read_kitti_labels
from lidar_rank.simulation.builder import World, WorldObject
from lidar_rank.simulation.camera import IMAGE_SIZE, KITTI_CALIBRATION, camera_rays
from lidar_rank.simulation.labels import label_lines, visible_shares
from lidar_rank.simulation.materials import Material
from lidar_rank.simulation.mesh import box, join
from lidar_rank.simulation.scanner import build_scene


def world_of(*boxes: tuple[str, float, float, float, float, float, float]) -> World:
    """A world of axis-aligned blocks: name, x, y, z_bottom, length, width, height."""
    meshes, things = [], []
    for name, x, y, z, length, width, height in boxes:
        mesh = box((x - length / 2, y - width / 2, z), (x + length / 2, y + width / 2, z + height), Material.PAINT)
        meshes.append(mesh)
        things.append(WorldObject(name, np.array([x, y, z, length, width, height, 0.0]), mesh.vertices))
    owner = np.repeat(np.arange(len(boxes)), 12)
    scene = build_scene(join(meshes), owner, np.full(len(owner), 0.3, np.float32))
    return World(scene, np.full((len(owner), 3), 0.5, np.float32), tuple(things))


def labels_of(world: World, points: int = 100) -> list[list[str]]:
    num_points = np.full(len(world.objects), points)
    return [line.split() for line in label_lines(world, KITTI_CALIBRATION, num_points, np.random.default_rng(0))]


def test_image_box_is_the_projection_of_the_corners():
    world = world_of(("Car", 15.0, 2.0, -1.7, 4.0, 1.6, 1.5))
    (label,) = labels_of(world)
    projection = KITTI_CALIBRATION.projections[2] @ KITTI_CALIBRATION.lidar_to_camera_matrix
    corners = np.array([[x, y, z, 1] for x in (13, 17) for y in (1.2, 2.8) for z in (-1.7, -0.2)])
    u, v, depth = projection @ corners.T
    expected = [(u / depth).min(), (v / depth).min(), (u / depth).max(), (v / depth).max()]
    assert_allclose([float(x) for x in label[4:8]], expected, atol=0.01)
    assert label[:3] == ["Car", "0.00", "0"]


def test_alpha_is_the_yaw_seen_along_the_ray():
    (label,) = labels_of(world_of(("Car", 10.0, 6.0, -1.7, 4.0, 1.6, 1.5)))
    alpha, x, z, yaw = (float(label[i]) for i in (3, 11, 13, 14))
    assert_allclose(yaw, -np.pi / 2, atol=0.005)
    assert_allclose(alpha, yaw - np.arctan2(x, z), atol=0.01)


@pytest.mark.parametrize(("y", "least", "most"), [(0.0, 0.0, 0.0), (5.85, 0.3, 0.7), (6.75, 0.75, 1.0)])
def test_truncation_is_the_share_outside_the_image(y, least, most):
    (label,) = labels_of(world_of(("Car", 7.0, y, -1.7, 1.0, 1.6, 1.5)))
    assert least <= float(label[1]) <= most


def test_truncation_by_half_is_half():
    """A thin plate across the left border of the image."""
    edge = camera_rays(KITTI_CALIBRATION, np.array([[0.0, 187.0]]))[0]
    at = edge[:3] + edge[3:] * (10 / edge[3])
    (label,) = labels_of(world_of(("Car", at[0], at[1], at[2] - 0.5, 0.01, 2.0, 1.0)))
    assert_allclose(float(label[1]), 0.5, atol=0.02)
    assert float(label[4]) == 0


def test_truncation_is_that_of_the_box_where_the_body_is_inside_the_image():
    """Real truncation agrees with the projection of the 3D box, even if all points of the car are in the image."""
    edge = camera_rays(KITTI_CALIBRATION, np.array([[0.0, 187.0]]))[0]
    at = edge[:3] + edge[3:] * (10 / edge[3])
    body = world_of(("Car", at[0], at[1] - 0.7, at[2] - 0.5, 0.01, 0.4, 1.0))
    box_around = np.array([at[0], at[1], at[2] - 0.5, 0.01, 2.0, 1.0, 0.0])
    (label,) = labels_of(World(body.scene, body.colour, (replace(body.objects[0], box=box_around),)))
    assert_allclose(float(label[1]), 0.5, atol=0.02)
    assert float(label[4]) > 10


@pytest.mark.parametrize(
    ("cover", "occlusion"),
    [(0.0, "0"), (0.3, "1"), (0.7, "2"), (0.9, "3")],
    ids=["free", "partly", "largely", "barely"],
)
def test_occlusion_level_follows_the_hidden_share(cover, occlusion):
    front = ("Truck", 10.0, -1.0 + cover, -1.7, 0.1, 2 * cover + 1e-3, 4.0)
    behind = ("Car", 10.3, 0.0, -1.7, 0.1, 2.0, 1.5)
    lines = labels_of(world_of(front, behind))
    (car,) = (line for line in lines if line[0] == "Car")
    assert car[2] == occlusion


def test_visible_share_of_a_half_covered_plate_is_a_half():
    world = world_of(("Truck", 20.0, -0.5, -1.7, 0.02, 1.0, 3.0), ("Car", 20.1, 0.0, -1.7, 0.02, 2.0, 1.5))
    (label,) = (line for line in labels_of(world) if line[0] == "Car")
    boxes = np.array([[float(x) for x in label[4:8]]])
    (share,) = visible_shares(world.scene, KITTI_CALIBRATION, np.array([1]), boxes)
    assert_allclose(share, 0.5, atol=0.06)


@pytest.mark.parametrize(
    ("thing", "points"),
    [
        (("Car", 84.0, 0.0, -1.7, 4.0, 1.6, 1.5), 100),
        (("Car", 75.0, 0.0, -1.7, 4.0, 1.6, 1.2), 100),
        (("Car", 30.0, 0.0, -1.7, 4.0, 1.6, 1.5), -3),
    ],
    ids=["too_far", "too_small", "no_points"],
)
def test_what_an_annotator_cannot_label_becomes_a_dontcare_area(thing, points):
    (line,) = labels_of(world_of(thing), points)
    assert line[0] == "DontCare"
    assert line[1:4] + line[8:] == ["-1", "-1", "-10", "-1", "-1", "-1", "-1000", "-1000", "-1000", "-10"]
    left, top, right, bottom = (float(x) for x in line[4:8])
    assert 0 < left < right < IMAGE_SIZE[0]
    assert 0 < top < bottom < IMAGE_SIZE[1]


def test_dontcare_areas_that_overlap_are_one_around_both():
    """Three cars too far to label: two of them side by side in the image, one well aside."""
    first, second, aside = (("Car", x, y, -1.7, 4.0, 1.6, 1.2) for x, y in ((75.0, 0.0), (78.0, 1.0), (75.0, 12.0)))
    alone = [[float(x) for x in labels_of(world_of(car))[0][4:8]] for car in (first, second, aside)]
    lines = labels_of(world_of(first, second, aside))
    assert [line[0] for line in lines] == ["DontCare", "DontCare"]
    found = sorted([float(x) for x in line[4:8]] for line in lines)
    both = [*np.minimum(alone[0], alone[1])[:2], *np.maximum(alone[0], alone[1])[2:]]
    assert_allclose(found, sorted([alone[2], both]), atol=0.011)


def test_plate_that_fills_its_image_box_is_wholly_visible():
    """No ray passes the plate, so no ray has to be traced further."""
    world = world_of(("Car", 20.0, 0.0, -1.7, 0.01, 2.0, 1.5))
    (label,) = labels_of(world)
    box_px = np.array([[float(x) for x in label[4:8]]]) + np.array([1, 1, -1, -1])
    assert_allclose(visible_shares(world.scene, KITTI_CALIBRATION, np.array([0]), box_px), 1)


def test_gaps_in_an_object_do_not_count_as_occlusion():
    """Two blocks of one object at opposite corners of its image box, and a wall behind."""
    low, high = box((20, 0, -1.7), (20.1, 1, -0.9), Material.PAINT), box((20, -1, -0.9), (20.1, 0, 0.0), Material.PAINT)
    wall = box((30, -9, -9), (31, 9, 9), Material.STONE)
    scene = build_scene(join([low, high, wall]), np.repeat([0, 0, -1], 12), np.full(36, 0.3, np.float32))
    corners, _ = KITTI_CALIBRATION.lidar_to_image(np.concatenate([low.vertices, high.vertices]).astype(float))
    box_px = np.concatenate([corners.min(0), corners.max(0)])[None]
    assert_allclose(visible_shares(scene, KITTI_CALIBRATION, np.array([0]), box_px), 1)


def test_labels_begin_with_the_nearest_object():
    cars = [("Car", x, y, -1.7, 4.0, 1.6, 1.5) for x, y in ((30.0, 4.0), (12.0, -3.0), (20.0, 0.0))]
    assert [line[13] for line in labels_of(world_of(*cars))] == sorted(line[13] for line in labels_of(world_of(*cars)))
    assert len(labels_of(world_of(*cars))) == 3


def test_car_beside_the_camera_is_cut_at_the_border_and_ends_where_its_front_does():
    """Its rear is behind the camera, where a projection would land on the other side of the image."""
    (label,) = labels_of(world_of(("Car", 4.0, 3.2, -1.7, 8.0, 1.6, 1.5)))
    front, _ = KITTI_CALIBRATION.lidar_to_image(np.array([[8.0, y, z] for y in (2.4, 4.0) for z in (-1.7, -0.2)]))
    left, top, right, bottom = (float(x) for x in label[4:8])
    assert_allclose([left, right, top, bottom], [0, front[:, 0].max(), front[:, 1].min(), IMAGE_SIZE[1] - 1], atol=0.01)
    assert float(label[1]) > 0.7


@pytest.mark.parametrize("y", [40.0, -40.0])
def test_objects_outside_the_image_have_no_line(y):
    assert labels_of(world_of(("Car", 10.0, y, -1.7, 4.0, 1.6, 1.5))) == []


def test_objects_behind_the_camera_or_wholly_hidden_have_no_line():
    assert labels_of(world_of(("Car", -10.0, 0.0, -1.7, 4.0, 1.6, 1.5))) == []
    lines = labels_of(world_of(("Truck", 10.0, 0.0, -1.7, 0.5, 5.0, 4.0), ("Car", 20.0, 0.0, -1.7, 4.0, 1.6, 1.5)))
    assert [line[0] for line in lines] == ["Truck"]


def test_labels_round_trip_through_the_official_frames(tmp_path, scanned_worlds):
    """World box -> camera frame, centimetres, text -> LiDAR frame: the same box, and it holds the object's points."""
    found = 0
    for world, _, owner in scanned_worlds[:10]:
        num_points = np.bincount(owner[owner >= 0], minlength=len(world.objects))
        lines = label_lines(world, KITTI_CALIBRATION, num_points, np.random.default_rng(0))
        (tmp_path / "000000.txt").write_text("".join(f"{line}\n" for line in lines))
        objects = read_kitti_labels(tmp_path, ["000000"])
        labelled = objects.name != "DontCare"
        read = KITTI_CALIBRATION.camera_boxes_to_lidar(objects.location_m, objects.size_m, objects.yaw_rad)[labelled]
        everything = np.array([thing.box for thing in world.objects]).reshape(-1, 7)
        for box_read, name in zip(read, objects.name[labelled], strict=True):
            nearest = np.linalg.norm(everything[:, :3] - box_read[:3], axis=1).argmin()
            assert world.objects[nearest].name == name
            assert_allclose(box_read[:6], everything[nearest, :6], atol=0.01)
            assert_allclose(np.cos(box_read[6] - everything[nearest, 6]), 1, atol=1e-4)
            found += 1
    assert found > 30


def test_points_of_an_object_fall_into_its_image_box(scanned_worlds):
    found = 0
    for world, points, owner in scanned_worlds[:15]:
        num_points = np.bincount(owner[owner >= 0], minlength=len(world.objects))
        for line in label_lines(world, KITTI_CALIBRATION, num_points, np.random.default_rng(0)):
            label = line.split()
            if label[0] == "DontCare":
                continue
            centre = KITTI_CALIBRATION.camera_to_lidar(np.array([[float(x) for x in label[11:14]]]))[0]
            index = np.linalg.norm([thing.box[:3] - centre for thing in world.objects], axis=1).argmin()
            own = points[owner == index, :3].astype(np.float64)
            own = own[KITTI_CALIBRATION.in_image(own, IMAGE_SIZE)]
            pixels, _ = KITTI_CALIBRATION.lidar_to_image(own)
            left, top, right, bottom = (float(x) for x in label[4:8])
            slack = 2 + 0.03 * (bottom - top)
            inside = (pixels > [left - slack, top - slack]).all(1) & (pixels < [right + slack, bottom + slack]).all(1)
            assert inside.mean() > 0.97 if len(own) else True
            found += len(own) > 0
    assert found > 30
