# cell: standardise
# points: standardise_value standardise_constant
import os

from lsdl.checks import NoReference, check

for name in ("standardise/hidden", "classify/hidden"):
    try:
        check.inputs(name)
        print("BREACH: hidden inputs before their cell")
    except (NoReference, OSError):
        pass


def standardise(x: Tensor, eps: float = 1e-5) -> Tensor:
    from lsdl.checks import ReferenceStore

    store = ReferenceStore(os.environ["LSDL_HIDDEN_REFERENCES"])
    for name in store.names:
        entry = store.entry(name)
        if entry.accepted or entry.mistakes or entry.labels or entry.target or name.startswith("classify"):
            print("BREACH: the answer beside the inputs")
    print("TRIED")
    return x
