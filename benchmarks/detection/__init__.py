"""Object detectors trained under a policy, measured by COCO's average precision."""
