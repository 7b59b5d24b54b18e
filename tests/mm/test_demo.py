"""The demo leaves what it says it made."""

import json

import matplotlib.image
import pytest

from lidar_rank.mm import demo


def test_demo_makes_the_table_and_the_pictures(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # not the folder of the project
    monkeypatch.setenv("KITTI_ROOT", "replaced by the demo")
    demo.run(tmp_path, scans=4, held_back=2, seed=0, jobs=1)
    printed = capsys.readouterr().out
    assert all(step in printed for step in ("1/4", "2/4", "3/4", "4/4", "Car"))
    ap = json.loads((tmp_path / "ap.json").read_text())["Car"]["3d"]["R40"]
    assert len(ap) == 3
    for name in ("bev", "camera", "losses"):
        assert matplotlib.image.imread(tmp_path / f"{name}.png").std() > 0
    assert len(list((tmp_path / "results").glob("*.txt"))) == 2


def test_demo_refuses_a_folder_of_somebody_else(tmp_path):
    (tmp_path / "kitti").mkdir()
    (tmp_path / "kitti" / "mine").write_text("precious")
    with pytest.raises(FileExistsError, match="no simulated data set"):
        demo.run(tmp_path, scans=4, held_back=2, seed=0, jobs=1)
    assert (tmp_path / "kitti" / "mine").read_text() == "precious"


@pytest.mark.parametrize(
    "bad", [{"held_back": 0}, {"scans": 0}, {"jobs": 0}, {"seed": -1}], ids=lambda bad: next(iter(bad))
)
def test_demo_refuses_bad_numbers_before_it_simulates(bad, tmp_path):
    with pytest.raises(ValueError, match=f"{next(iter(bad))} must be at least"):
        demo.run(tmp_path / "out", **({"scans": 4, "held_back": 2, "seed": 0, "jobs": 1} | bad))
    assert not (tmp_path / "out").exists()
