"""Draw docs/images/loss_gradients.png: how strongly each loss pushes one candidate, by its score.

    python tools/studies/plot_loss_gradients.py [OUT]

One image holds 20 objects and 2,000 background candidates with the scores of a half-trained detector. One more
candidate, first as background and then as an object, takes the scores from 0.01 to 0.99 in turn. A curve is the
gradient at the logit of this candidate, averaged over 30 draws of the image, as a share of its largest value. Below 0
the loss pushes in the wrong direction. Losses that read overlaps have one curve for a well-placed object and one for a
badly placed object.
"""

import math
import sys
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn

from lidar_rank import losses

OUT = Path(__file__).parents[2] / "docs" / "images" / "loss_gradients.png"
SHOWN = {
    "cross entropy": losses.BinaryCrossEntropyLoss(),
    "focal": losses.SigmoidFocalLoss(),
    "OHEM": losses.OHEMLoss(),
    "AP": losses.APLoss(),
    "DR": losses.DRLoss(),
    "GHM-C": losses.GHMCLoss(momentum=0.0),
    "RankDet global, 15 groups": losses.GlobalRankingLoss(),
    "RankDet global, OHEM": losses.GlobalRankingLoss(mining="ohem"),
    "RankDet global, unmined": losses.GlobalRankingLoss(mining="none"),
    "RankDet IoU-guided": losses.IoURankingLoss(),
    "RankDet, the sum": losses.RankDetLoss(),
    "IoU-balanced": losses.IoUBalancedClsLoss(),
    "quality focal": losses.QualityFocalLoss(),
    "varifocal": losses.VarifocalLoss(),
    "RankSort": losses.RankSortLoss(),
    "aLRP": losses.ALRPLoss(),
    "concordance": losses.ConcordanceLoss(),
}
NAMED = {type(loss) for loss in SHOWN.values()}
# A loss without a title here is shown with its defaults, under the name of its class. In eval mode a loss that keeps an
# average uses the batch alone.
SHOWN |= {loss.__name__: loss().eval() for loss in losses.CLASSIFICATION_LOSSES if loss not in NAMED}
COLUMNS = 4
BACKGROUND, OBJECT = 1, 0
DRAWS = 30
SCORES = torch.linspace(0.01, 0.99, 50)


def push(loss: nn.Module, label: int, probe_iou: float) -> Tensor:
    """Gradient at the logit of the probed candidate for each of its scores, positive in the direction of its label."""
    total = torch.zeros_like(SCORES)
    for draw in range(DRAWS):
        torch.manual_seed(draw)
        logits = torch.cat([torch.randn(20) + 0.5, 1.2 * torch.randn(2000) - 4, torch.zeros(1)]).view(1, -1, 1)
        labels = torch.tensor([OBJECT] * 20 + [BACKGROUND] * 2000 + [label]).view(1, -1)
        iou = torch.rand(1, 2021) * 0.4 + 0.5
        iou[0, -1] = probe_iou
        for place, score in enumerate(SCORES):
            live = logits.index_fill(1, torch.tensor([2020]), score.logit().item()).requires_grad_()
            loss(live, labels, iou=iou).backward()
            total[place] += live.grad[0, -1, 0]
    return total if label == BACKGROUND else -total


def draw(panel: plt.Axes, name: str, loss: nn.Module) -> None:
    """Draw the panel of one loss."""
    background, good, bad = push(loss, BACKGROUND, 0.0), push(loss, OBJECT, 0.9), push(loss, OBJECT, 0.5)
    objects = {"object, pushed up": (good, "-")}
    if not good.equal(bad):  # the loss reads overlaps
        objects = {"object of IoU 0.9": (good, "-"), "object of IoU 0.5": (bad, "--")}
    if background.abs().max() > 0:
        panel.plot(SCORES, background / background.abs().max(), color="C3", label="background, pushed down")
    largest = max(curve.abs().max() for curve, _ in objects.values())
    for label, (curve, style) in objects.items():
        panel.plot(SCORES, curve / largest, style, color="C0", label=label)
    panel.axhline(0, color="black", linewidth=0.5)
    panel.set_title(name)


def main() -> None:
    """Draw all panels and write the picture."""
    mpl.use("Agg")
    rows = math.ceil(len(SHOWN) / COLUMNS)
    size = (13, 2.7 * rows)
    figure, panels = plt.subplots(rows, COLUMNS, figsize=size, sharex=True, sharey="row", layout="constrained")
    for panel, (name, loss) in zip(panels.flat, SHOWN.items(), strict=False):
        draw(panel, name, loss)
        if len(panel.lines) > 3 or panel is panels[0, 0]:
            panel.legend(fontsize="small")
    for panel in panels.flat[len(SHOWN) :]:
        panel.set_axis_off()
    figure.supxlabel("score of the candidate")
    figure.supylabel("gradient at its logit, as a share of the curve's largest")
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=80)


if __name__ == "__main__":
    main()
