"""Count whether ops are drawn as often as the shipped policies' tables say.

    python -m benchmarks.draws [--draws 1000000]

For each policy: the ops of ``Policy.sample`` by layer against ``op_shares`` (chi-square, rare ops
pooled; the smallest p-value of the layers times their number), and the ops of ``Plan.steps``
against the expected number per image (largest deviation in standard errors).
"""

import argparse
from collections import Counter
from typing import Any

import torch
from torch import Tensor

from benchmarks.record import save_result
from learned_augment import Policy, list_policies
from learned_augment.ops import OPS

SEED = 0
SINGLE = 10  # one draw of a single image is made for this many of a batch


def chi_square(counts: Tensor, expected: Tensor) -> tuple[float, int, float]:
    """Return statistic, degrees of freedom and p-value; cells of fewer than 5 are pooled."""
    rare = expected < 5
    counts = torch.cat([counts[~rare], counts[rare].sum()[None]])
    expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
    counts, expected = counts[expected > 0], expected[expected > 0]
    statistic = ((counts - expected) ** 2 / expected).sum()
    freedom = len(counts) - 1
    if freedom == 0:
        return 0.0, 0, 1.0
    p = torch.special.gammaincc(torch.tensor(freedom / 2, dtype=torch.float64), statistic / 2)
    return float(statistic), freedom, float(p)


def sampled(policy: Policy, draws: int, generator: torch.Generator) -> dict[str, Any]:
    """Compare the ops of a batch's plan with the table, layer by layer."""
    plan = policy.sample(draws, generator)
    table = torch.stack([policy.op_shares()[name] for name in policy.ops])  # (O, L)
    counts = torch.stack([c.bincount(minlength=len(policy.ops)) for c in plan.op.unbind(1)], 1)
    tests = [
        chi_square(counts[:, layer].double(), draws * table[:, layer])
        for layer in range(policy.depth)
    ]
    shares = (counts / draws).tolist()
    return {
        "draws": draws,
        "chi_square": [round(statistic, 2) for statistic, _, _ in tests],
        "degrees_of_freedom": [freedom for _, freedom, _ in tests],
        "p_value": round(min(1.0, len(tests) * min(p for _, _, p in tests)), 4),
        "shares": {
            name: {"drawn": drawn, "table": given}
            for name, drawn, given in zip(policy.ops, shares, table.tolist(), strict=True)
        },
    }


def expected_ops(policy: Policy) -> tuple[dict[str, float], dict[str, float]]:
    """Return mean and variance of how often an image meets each op at a value that acts."""
    means, variances = {}, {}
    for place, name in enumerate(policy.ops):
        acts = (policy.op == place) & (policy.value != (OPS[name].identity_value or 0.0))
        if OPS[name].identity_value is None:
            acts = policy.op == place
        probability = (policy.weights * acts).sum(-1)  # (S, L)
        per_sub = probability.sum(-1)
        mean = (policy.mixture * per_sub).sum()
        within = (policy.mixture * (probability * (1 - probability)).sum(-1)).sum()
        between = (policy.mixture * (per_sub - mean) ** 2).sum()
        means[name], variances[name] = float(mean), float(within + between)
    return means, variances


def drawn_singly(policy: Policy, draws: int, generator: torch.Generator) -> dict[str, Any]:
    """Compare the ops of single images with the numbers that the table predicts."""
    counts = Counter(
        step.op.name for _ in range(draws) for step in policy.sample(1, generator).steps(0)
    )
    means, variances = expected_ops(policy)
    deviations = {
        name: (counts[name] - draws * mean) / (draws * variances[name]) ** 0.5
        for name, mean in means.items()
        if draws * variances[name] >= 5
    }
    worst = max(deviations, key=lambda name: abs(deviations[name]))
    return {
        "single_draws": draws,
        "ops": len(deviations),
        "largest_deviation_se": round(deviations[worst], 2),
        "largest_deviation_op": worst,
    }


def main() -> None:
    """Measure every shipped policy and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1_000_000)
    draws = parser.parse_args().draws
    generator = torch.Generator().manual_seed(SEED)
    rows = []
    for name in list_policies():
        policy = Policy.load(name)
        row = {"policy": name, **sampled(policy, draws, generator)}
        row |= drawn_singly(policy, draws // SINGLE, generator)
        rows.append(row)
        print({key: value for key, value in row.items() if key != "shares"})
    print(save_result("draws", rows, seeds=[SEED], settings={"draws": draws}))


if __name__ == "__main__":
    main()
