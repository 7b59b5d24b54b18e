import numpy as np
from numpy.testing import assert_allclose

from lidar_rank.datasets.simulation.builder import rectangles_overlap
from tests.datasets.simulation.oracles import polygon


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
