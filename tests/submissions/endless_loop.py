# cell: dropout
# points: dropout_rate dropout_scale
# status: timeout
print("TRIED")


def dropout(x: Tensor, p: float, generator: Generator) -> Tensor:
    while True:
        pass
