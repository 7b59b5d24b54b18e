"""Reversed pairs by looking at every pair of one image."""


def reversed_share(better, worse):
    """1 where the score that should be larger is smaller, 0.5 for a tie."""
    return 1.0 if better < worse else 0.5 if better == worse else 0.0


def reverse_pairs(scores, labels, iou, min_negative_score):
    """[reversed, total] of foreground-background, positive-negative and positive-positive pairs; plain lists in."""
    num_classes = len(scores[0])
    fb, pn, pp = [0.0, 0], [0.0, 0], [0.0, 0]
    for i, label_i in enumerate(labels):
        if not 0 <= label_i < num_classes:
            continue
        own = scores[i][label_i]
        for j, label_j in enumerate(labels):
            if label_j == num_classes and max(scores[j]) >= min_negative_score:
                fb[0] += reversed_share(own, max(scores[j]))
                fb[1] += 1
            if label_j not in (-1, label_i) and scores[j][label_i] >= min_negative_score:
                pn[0] += reversed_share(own, scores[j][label_i])
                pn[1] += 1
            if label_j == label_i and iou[i] > iou[j]:
                pp[0] += reversed_share(own, scores[j][label_i])
                pp[1] += 1
    return fb, pn, pp
