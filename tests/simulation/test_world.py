from dataclasses import replace

import numpy as np
import pytest
import shapely
from numpy.testing import assert_allclose

from lidar_rank.simulation.beams import HEIGHT_M, camera_window_deg
from lidar_rank.simulation.builder import VIEW_M, SceneBuilder, World
from lidar_rank.simulation.camera import KITTI_CALIBRATION
from lidar_rank.simulation.scanner import cast, scan
from lidar_rank.simulation.sizes import CLASSES, SIZES, draw_size
from lidar_rank.simulation.styles import STYLES, draw_street, pick
from lidar_rank.simulation.world import add_object, make_world
from tests.simulation.oracles import in_box, polygon, rays_into

MIRROR_M = 0.2


@pytest.fixture(scope="module")
def worlds() -> list[World]:
    return [make_world(np.random.default_rng(seed), half_angle_rad=np.radians(46)) for seed in range(200)]


def test_every_seed_makes_a_sound_scene(worlds):
    for seed, world in enumerate(worlds):
        mesh = world.scene.mesh
        assert np.isfinite(mesh.vertices).all(), seed
        assert mesh.triangles.max() < len(mesh.vertices)
        assert len(mesh.triangles) == len(mesh.material) == len(world.colour) == len(world.scene.albedo), seed
        assert ((world.colour >= 0) & (world.colour <= 1)).all()
        assert set(np.unique(world.scene.owner)) == set(range(-1, len(world.objects))), seed
        for thing in world.objects:
            assert thing.name in CLASSES
            assert (thing.box[3:6] > 0).all()
            assert -np.pi <= thing.box[6] < np.pi
            assert np.hypot(*thing.box[:2]) < VIEW_M + thing.box[3]


def test_scenes_differ_and_hold_every_class(worlds):
    counts = [len(world.objects) for world in worlds]
    assert min(counts) <= 2
    assert max(counts) >= 12
    assert {thing.name for world in worlds for thing in world.objects} == set(CLASSES)


def test_no_two_objects_overlap_nor_touch_the_sensors_vehicle(worlds):
    pairs = 0
    for seed, world in enumerate(worlds):
        rectangles = [(*thing.box[:2], *thing.box[3:5], thing.box[6]) for thing in world.objects]
        areas = np.array([polygon(rectangle) for rectangle in [*rectangles, (0.2, 0.0, 4.9, 1.9, 0.0)]])
        first, second = np.triu_indices(len(areas), 1)
        assert (shapely.area(shapely.intersection(areas[first], areas[second])) == 0).all(), seed
        pairs += len(first)
    assert pairs > 5000


def test_cars_stand_as_far_aside_as_in_real_scans(worlds):
    """A quarter of KITTI's labelled cars between 15 and 30 m are more than 8 m to the side; some are hidden."""
    cars = np.array([thing.box for world in worlds for thing in world.objects if thing.name == "Car"])
    distance_m = np.hypot(cars[:, 0], cars[:, 1])
    aside = np.abs(cars[(distance_m > 15) & (distance_m < 30), 1]) > 8
    assert 0.2 < aside.mean() < 0.4


def test_bodies_fill_their_boxes_without_leaving_them(worlds):
    for world in worlds[:60]:
        for thing in world.objects:
            inside = in_box(thing.vertices, thing.box, 0.01)
            beyond = thing.vertices[~inside]
            if thing.name in ("Car", "Van"):  # mirrors are not part of a labelled width
                assert in_box(beyond, thing.box, MIRROR_M).all(), thing.name
            else:
                assert inside.all(), thing.name
            shrunk = thing.box.copy()
            shrunk[3:6] *= 0.85
            assert not in_box(thing.vertices, shrunk, 0.0).all(), f"{thing.name} is lost in its box"


def test_boxes_stand_on_the_ground(worlds):
    """Vertical rays beside cars meet the ground at the bottom of their boxes, up to kerbs and annotation errors."""
    gaps = []
    for world in worlds[:60]:
        for thing in (thing for thing in world.objects if thing.name == "Car"):
            x, y, z, _, width, _, yaw = thing.box
            for side in (-1, 1):
                aside = side * (width / 2 + 0.3)
                plumb = np.array([[x - aside * np.sin(yaw), y + aside * np.cos(yaw), z + 0.3, 0, 0, -1]], np.float32)
                gaps.append(cast(world.scene, plumb).range_m[0] - 0.3)
    gaps = np.array(gaps)
    assert len(gaps) > 100
    assert 0.0 < np.median(gaps) < 0.06
    assert (np.abs(gaps) < 0.25).mean() > 0.97


def test_points_of_an_object_lie_in_its_box(scanned_worlds):
    shares = []
    for world, points, owner in scanned_worlds:
        for index, thing in enumerate(world.objects):
            of_thing = points[owner == index]
            if len(of_thing) >= 20:
                shares.append(in_box(of_thing, thing.box, 0.05).mean())
    assert len(shares) > 80
    assert np.mean(shares) > 0.985
    assert np.quantile(shares, 0.05) > 0.9


@pytest.mark.parametrize(("distance_m", "least", "most"), [(10, 0.45, 0.9), (25, 0.3, 0.8), (45, 0.1, 0.6)])
def test_visible_cars_have_the_points_that_their_distance_predicts(distance_m, least, most):
    """Of the rays that meet the box of an unoccluded car, most return when it is near and fewer when it is far."""
    shares = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        street, _ = draw_street(STYLES["arterial"], rng)
        builder = SceneBuilder(street, half_angle_rad=np.pi / 4)
        add_object(builder, "Car", distance_m, street.ego_d, heading=rng.uniform(0, 6), gap_m=0.0, rng=rng)
        world = builder.finish(rng)
        _, owner = scan(world.scene, rng, camera_window_deg(KITTI_CALIBRATION))
        met = rays_into(world.objects[0].box)
        shares.append((owner == 0).sum() / met)
        expected_rays = 2.0e5 / distance_m**2
        assert 0.2 < met / expected_rays < 3
    assert least < np.median(shares) < most
    assert max(shares) < 1.05


@pytest.mark.parametrize("name", CLASSES)
def test_sizes_have_the_quantiles_and_the_correlation_of_the_labels(name):
    rng = np.random.default_rng(0)
    sizes = np.array([draw_size(name, rng) for _ in range(6000)])
    table = SIZES[name]
    for k in range(3):
        low, *_, high = table.quantiles_m[k]
        assert sizes[:, k].min() >= low
        assert sizes[:, k].max() <= high
        assert_allclose(np.quantile(sizes[:, k], [0.25, 0.5, 0.75]), table.quantiles_m[k][3:6], rtol=0.08)
    rank = np.argsort(np.argsort(sizes, 0), 0)
    assert_allclose(np.corrcoef(rank.T)[np.triu_indices(3, 1)], table.correlation, atol=0.08)


def test_only_wanted_classes_appear():
    world_objects = [
        thing.name
        for seed in range(10)
        for thing in make_world(np.random.default_rng(seed), classes=("Cyclist", "Car")).objects
    ]
    assert set(world_objects) <= {"Car", "Cyclist"}
    assert "Car" in world_objects


def test_unknown_class_is_named():
    with pytest.raises(ValueError, match="unknown classes Boat"):
        make_world(np.random.default_rng(0), classes=("Car", "Boat"))


@pytest.mark.parametrize("name", STYLES)
def test_sensor_is_at_its_height_above_every_style_of_street(name):
    street, _ = draw_street(STYLES[name], np.random.default_rng(0))
    assert_allclose(street.to_lidar(0.0, street.ego_d), [0, 0, -HEIGHT_M], atol=1e-9)


def test_street_keeps_lengths_along_its_centre_line_and_across_it():
    street, _ = draw_street(STYLES["country"], np.random.default_rng(4))
    s = np.linspace(0, 80, 4001)
    centre = np.stack(street.plan(s, 0 * s), 1)
    assert_allclose(np.linalg.norm(np.diff(centre, axis=0), axis=1).sum(), 80, rtol=1e-5)
    side = np.stack(street.plan(s, 0 * s + 3), 1)
    assert_allclose(np.linalg.norm(side - centre, axis=1), 3, rtol=1e-9)
    heading = np.arctan2(*np.diff(centre, axis=0)[1000, ::-1])
    assert_allclose(heading, street.yaw(s[1000] + 0.01), atol=1e-6)


def test_straight_street_is_the_limit_of_a_curved_one():
    curved, _ = draw_street(STYLES["city"], np.random.default_rng(0))
    straight, nearly = (replace(curved, curvature_per_m=c, ego_yaw_rad=0.0) for c in (0.0, 1e-7))
    s, d = np.linspace(-4, 85, 30), np.linspace(-20, 20, 30)
    assert_allclose(straight.plan(s, d), [s, d - straight.ego_d], atol=1e-5)
    assert_allclose(straight.plan(s, d), nearly.plan(s, d), atol=1e-3)
    assert_allclose(straight.plan(50.0, 2.0), [50.0, 2.0 - straight.ego_d], atol=1e-5)


def test_options_are_picked_by_their_weights():
    rng = np.random.default_rng(0)
    drawn = [pick((("rare", 1.0), ("never", 0.0), ("common", 3.0)), rng) for _ in range(4000)]
    assert "never" not in drawn
    assert_allclose(drawn.count("common") / len(drawn), 0.75, atol=0.03)
