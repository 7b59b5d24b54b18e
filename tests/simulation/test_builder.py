import numpy as np
from numpy.testing import assert_allclose

from lidar_rank.simulation.builder import Paint, SceneBuilder, rectangles_overlap
from lidar_rank.simulation.materials import Material
from lidar_rank.simulation.mesh import box
from lidar_rank.simulation.styles import STYLES, draw_street
from tests.simulation.oracles import polygon


def test_rectangles_overlap_where_shapely_finds_common_area():
    rng = np.random.default_rng(0)
    agreed = {True: 0, False: 0}
    for _ in range(600):
        one, other = (tuple(rng.uniform([-3, -3, 0.2, 0.2, -4], [3, 3, 6, 3, 4])) for _ in range(2))
        area = polygon(one).intersection(polygon(other)).area
        if area == 0 or area > 1e-6:
            assert rectangles_overlap(one, other) == (area > 0), (one, other)
            assert rectangles_overlap(other, one) == (area > 0)
            agreed[area > 0] += 1
    assert min(agreed.values()) > 150, "the draw must show both cases"


def test_rectangles_that_touch_do_not_overlap():
    assert not rectangles_overlap((0, 0, 2, 1, 0), (2, 0, 2, 1, 0))
    assert rectangles_overlap((0, 0, 2, 1, 0), (1.99, 0, 2, 1, 0))


def test_polygon_helper_has_the_area_of_the_rectangle():
    assert_allclose(polygon((1.0, 2.0, 4.0, 1.5, 0.7)).area, 6.0)


BLOCK = box((-0.5, -0.5, 0.0), (0.5, 0.5, 1.0), Material.PAINT)


def builder_on_a_city_street() -> SceneBuilder:
    return SceneBuilder(draw_street(STYLES["city"], np.random.default_rng(0))[0], half_angle_rad=np.pi / 4)


def add_block(builder: SceneBuilder, s: float, *, gap_m: float = 0.0, inset_m: np.ndarray | None = None) -> bool:
    size, inset_m = np.array([4.0, 1.6, 1.5]), np.zeros(5) if inset_m is None else inset_m
    paint = Paint((0.5, 0.5, 0.5), 0.1)
    return builder.add_object(
        "Car", BLOCK, size, s, 0.5, heading=0.3, paint=paint, gap_m=gap_m, inset_m=inset_m, lift_m=0.02
    )


def test_body_keeps_the_asked_space_to_each_face_of_its_box():
    builder, inset_m = builder_on_a_city_street(), np.array([0.1, 0.2, 0.03, 0.05, 0.04])
    assert add_block(builder, 20.0, inset_m=inset_m)
    (thing,) = builder.finish(np.random.default_rng(0)).objects
    assert_allclose(thing.box[3:6], [4.0, 1.6, 1.5])
    assert_allclose(thing.box[6], builder.street.yaw(20.0) + 0.3)
    assert_allclose(thing.box[:3], builder.street.to_lidar(20.0, 0.5) + np.array([0, 0, 0.02]))
    offset = thing.vertices - thing.box[:3]
    cos, sin = np.cos(thing.box[6]), np.sin(thing.box[6])
    along, across = cos * offset[:, 0] + sin * offset[:, 1], cos * offset[:, 1] - sin * offset[:, 0]
    spaces = [along.min() + 2.0, 2.0 - along.max(), across.min() + 0.8, 0.8 - across.max(), 1.5 - offset[:, 2].max()]
    assert_allclose(spaces, inset_m, atol=1e-5)
    assert_allclose(offset[:, 2].min(), 0, atol=1e-5)


def test_objects_need_free_ground_and_their_gap():
    builder = builder_on_a_city_street()
    assert add_block(builder, 20.0)
    assert not add_block(builder, 21.0), "on top of the first"
    assert not add_block(builder, 25.5, gap_m=2.0), "too near for its gap"
    assert add_block(builder, 25.5, gap_m=0.5)
    assert builder.num_objects == 2
    assert len(builder.finish(np.random.default_rng(0)).objects) == 2


def test_what_is_out_of_view_is_left_out():
    builder = builder_on_a_city_street()
    assert not add_block(builder, -20.0)
    assert not add_block(builder, 100.0)
    assert builder.num_objects == 0
