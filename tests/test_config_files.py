"""What configs compute from those that they inherit."""

from lidar_rank.config_files import within_range


def test_a_pipeline_within_a_range_is_a_copy():
    """The base's pipeline keeps its own range, because other configs inherit it too."""
    load, keep = {"type": "Load"}, {"type": "Keep", "point_cloud_range": [0, -40, -3, 70, 40, 1]}
    pipeline = [load, {"type": "Flip", "transforms": [keep]}, keep]
    found = within_range(pipeline, [-9, -9, -3, 9, 9, 1])
    kept = {"type": "Keep", "point_cloud_range": [-9, -9, -3, 9, 9, 1]}
    assert found == [load, {"type": "Flip", "transforms": [kept]}, kept]
    assert pipeline == [load, {"type": "Flip", "transforms": [keep]}, keep]
    assert keep["point_cloud_range"] == [0, -40, -3, 70, 40, 1]
