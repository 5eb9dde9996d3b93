"""What the homework's checks run on: networks so small that they take milliseconds, and drivers that record what a function did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from helpers import mlp
from torch import Tensor, nn

from lsdl.features import Classifier
from lsdl.torch_tools import gradients


class TinyNet(nn.Module):
    """A backbone of 350 parameters, with one block, whose parts are named as a ResNet's: the checks run on it, so they take milliseconds."""

    def __init__(self, blocks: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(4)
        self.layer4 = nn.Sequential()
        for k in range(blocks):
            block = nn.Sequential()
            block.add_module("conv2", nn.Conv2d(6 if k else 4, 6, 3, padding=1, bias=False))
            block.add_module("bn2", nn.BatchNorm2d(6))
            self.layer4.append(block)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.layer4(F.relu(self.bn1(self.conv1(images)))))
        return self.fc(self.avgpool(x).flatten(1))


def tiny_backbone(state: Mapping[str, Tensor]) -> TinyNet:
    """TinyNet with the given parameters and buffers, in eval mode like a checkpoint that was just loaded."""
    net = TinyNet(blocks=sum(name.endswith("conv2.weight") for name in state))
    net.load_state_dict(dict(state))
    return net.eval()


def tiny_encoder(state: Mapping[str, Tensor] | None = None) -> nn.Sequential:
    """TinyNet and a projection head, 3 x 8 x 8 -> 5, in train mode."""
    encoder = nn.Sequential(TinyNet(), mlp(6, 7, 5))
    if state is not None:
        encoder.load_state_dict(dict(state))
    return encoder.train()


def tiny_predictor(state: Mapping[str, Tensor] | None = None) -> nn.Sequential:
    """A predictor 5 -> 5 in train mode."""
    predictor = mlp(5, 4, 5)
    if state is not None:
        predictor.load_state_dict(dict(state))
    return predictor.train()


class TinyResNet(TinyNet):
    """TinyNet with a classifier of 4 classes as `fc`."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 4)


def tiny_resnet(state: Mapping[str, Tensor]) -> TinyResNet:
    """TinyResNet with the given parameters and buffers, in train mode."""
    net = TinyResNet()
    net.load_state_dict(dict(state))
    return net.train()


def tiny_classifier(state: Mapping[str, Tensor], weight: Tensor, bias: Tensor) -> Classifier:
    """A classifier on TinyNet with the given numbers, in train mode."""
    head = nn.Linear(*weight.T.shape)
    head.load_state_dict({"weight": weight, "bias": bias})
    return Classifier(tiny_backbone(state), head).train()


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters and buffers by name, but for the counts of batches."""
    return {k: v.detach().clone() for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}


def unchanged(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, bool]:
    """Which parameters and buffers are equal bit for bit to those in `state`."""
    return {name: name in state and torch.equal(value, state[name]) for name, value in module.state_dict().items()}


def sgd(
    modules: Sequence[nn.Module],
    loss: Callable[[int], Tensor],
    *,
    lr: float,
    steps: int,
    weight_decay: float = 0.0,
    after: Callable[[int], object] | None = None,
) -> list[float]:
    """Steps of plain SGD on `loss(k)`; `after(k)` follows step k. Returns the losses before each step."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    optimizer, losses = torch.optim.SGD(parameters, lr=lr, weight_decay=weight_decay), []
    for k in range(steps):
        value = loss(k)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
        if after is not None:
            after(k)
    return losses


# Drivers: each takes the function that is checked and a check's inputs, and returns what is compared


def gradients_of(loss: Callable[..., Tensor], *inputs: Tensor | float) -> list[Tensor]:
    """Gradients of `loss(*inputs)` with respect to the tensors among its inputs; zeros where none flows."""
    leaves = [x.requires_grad_() if isinstance(x, Tensor) else x for x in inputs]
    tensors = [x for x in leaves if isinstance(x, Tensor)]
    (loss(*leaves) + 0 * sum(x.sum() for x in tensors)).backward()
    return [x.grad for x in tensors]


def simclr_steps(simclr_loss: Callable, state: Mapping[str, Tensor], batches: Tensor, *, temperature: float) -> dict:
    """z, losses and state of a tiny encoder over two SGD steps; batches (2, 2 views, n, 3, 8, 8)."""
    encoder = tiny_encoder(state)
    z = simclr_loss(tiny_encoder(state), batches[0], temperature)[1]
    losses = sgd([encoder], lambda k: simclr_loss(encoder, batches[k], temperature)[0], lr=0.1, steps=2)
    return {"z": z, "losses": losses, "state": snapshot(encoder)}


def updated(update_target: Callable, target: Mapping[str, Tensor], online: Mapping[str, Tensor], tau: float) -> dict:
    """Both networks, from the given states, after two updates of the target."""
    slow, fast = tiny_encoder(target), tiny_encoder(online)
    for _ in range(2):
        update_target(slow, fast, tau)
    return {"target": snapshot(slow), "online": snapshot(fast)}


def byol_steps(
    byol_views_loss: Callable,
    update_target: Callable,
    online: Mapping[str, Tensor],
    predictor: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    batches: Tensor,
    *,
    tau: float,
) -> dict:
    """z, losses and the three networks over three SGD steps, each followed by an update; batches (3, 2 views, n, 3, 8, 8)."""
    z = byol_views_loss(tiny_encoder(online), tiny_predictor(predictor), tiny_encoder(target), batches[0])[1]
    nets = tiny_encoder(online), tiny_predictor(predictor), tiny_encoder(target)
    losses = sgd(
        nets,
        lambda k: byol_views_loss(*nets, batches[k])[0],
        lr=0.1,
        steps=3,
        after=lambda k: update_target(nets[2], nets[0], tau),
    )
    names = ("online", "predictor", "target")
    return {"z": z, "losses": losses} | {name: snapshot(net) for name, net in zip(names, nets, strict=True)}


def stds_of(std_of_z: Callable[[Tensor], float], *batches: Tensor) -> dict[str, list]:
    """The value for each batch z (N, d), and whether it is a Python number: a tensor would keep the graph of a training step."""
    values = [std_of_z(z) for z in batches]
    return {"values": values, "numbers": [isinstance(value, float) for value in values]}


def watched(inputs_of: Callable, state: Mapping[str, Tensor], images: Tensor, *, batch_size: int) -> dict:
    """What `inputs_of` gives for two layers of a tiny ResNet in mixed modes, the sizes of its batches, and how it leaves the model."""
    model, sizes = tiny_resnet(state), []
    model.bn1.eval()
    model.conv1.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    answer = {
        "features": inputs_of(model, "fc", images, batch_size),
        "earlier": inputs_of(model, "avgpool", images, batch_size - 1),
        "batches": sizes,
        "modes": {name: module.training for name, module in model.named_modules()},
        "hooks": len(model.fc._forward_pre_hooks),
    }
    return answer | {"state": snapshot(model)}


def probe_steps(LinearProbe: type[nn.Module], state: Mapping[str, Tensor], batches: Tensor, labels: Tensor) -> dict:
    """A probe before, during and after two SGD steps with weight decay, and the backbone that it was given."""
    backbone = tiny_backbone(state).train()
    probe = LinearProbe(backbone, 4).train()
    start = snapshot(probe.head)
    losses = sgd([probe], lambda k: F.cross_entropy(probe(batches[k]), labels[k]), lr=0.5, steps=2, weight_decay=0.1)
    return {
        "start": start,
        "losses": losses,
        "head": snapshot(probe.head),
        "frozen": unchanged(probe.backbone, state),
        "trainable": {name: p.requires_grad for name, p in probe.named_parameters()},
        "given": {
            "unchanged": unchanged(backbone, state),
            "train mode": backbone.training,
            "trainable": [p.requires_grad for p in backbone.parameters()],
        },
        "logits": probe.eval()(batches[0]),
    }


def built(build_finetuner: Callable[[nn.Module, int], Classifier], state: Mapping[str, Tensor], _: Tensor) -> dict:
    """The classifier from a frozen backbone, and that backbone after all of the classifier's parameters were changed."""
    backbone = tiny_backbone(state).requires_grad_(False)
    classifier = build_finetuner(backbone, 4)
    answer = {"start": snapshot(classifier), "trainable": [p.requires_grad for p in classifier.parameters()]}
    changed = [p.data.add_(1.0) for p in classifier.parameters()][-1]
    given = [not p.requires_grad for p in backbone.parameters()]
    return answer | {"changed": changed, "given": snapshot(backbone), "given frozen": given}


def grouped(
    parameter_groups: Callable, state: Mapping[str, Tensor], weight: Tensor, bias: Tensor, rates: Sequence[float]
) -> list[dict]:
    """The groups for a tiny classifier with sorted names in place of parameters, to compare them."""
    classifier = tiny_classifier(state, weight, bias)
    names = {id(p): name for name, p in classifier.named_parameters()}
    return [
        {"names": sorted(names.get(id(p), "?") for p in group["params"])}
        | {key: group.get(key) for key in ("lr", "weight_decay")}
        for group in parameter_groups(classifier, *rates)
    ]


def _finetuned(
    finetune_step: Callable,
    state: Mapping[str, Tensor],
    weight: Tensor,
    bias: Tensor,
    batches: Tensor,
    labels: Tensor,
    lr: float,
) -> dict[str, tuple[list[float], Classifier]]:
    """Losses and classifier after two SGD steps, with and without frozen statistics; it comes in eval mode."""
    done = {}
    for freeze in (True, False):
        model = tiny_classifier(state, weight, bias).eval()
        optimizer = torch.optim.SGD(model.parameters(), lr=lr)
        losses = [finetune_step(model, batches[k], labels[k], optimizer, freeze) for k in range(2)]
        done[f"freeze_norm={freeze}"] = losses, model
    return done


def finetune_gradients(finetune_step: Callable, *inputs) -> dict:
    """Losses, and the gradients that two steps at the learning rate 0 leave."""
    done = _finetuned(finetune_step, *inputs, lr=0.0)
    answer = {name: {"losses": losses, "gradients": gradients(model)} for name, (losses, model) in done.items()}
    return answer | {"numbers": [isinstance(loss, float) for losses, _ in done.values() for loss in losses]}


def finetune_parameters(finetune_step: Callable, *inputs) -> dict:
    """Losses, and all parameters and buffers after two steps."""
    done = _finetuned(finetune_step, *inputs, lr=0.1)
    return {name: {"losses": losses, "state": snapshot(model)} for name, (losses, model) in done.items()}


def filled(enqueue_keys: Callable, queue: Tensor, pointer: int, batches: Sequence[Tensor]) -> dict:
    """The queue after all batches of keys, and the pointer after each."""
    pointers = [pointer := enqueue_keys(queue, pointer, keys) for keys in batches]
    return {"queue": queue, "pointers": pointers}


def moco_steps(
    moco_views_loss: Callable,
    moco_after_step: Callable,
    query: Mapping[str, Tensor],
    key: Mapping[str, Tensor],
    queue: Tensor,
    batches: Tensor,
) -> dict:
    """Losses of two SGD steps, then one forward pass and what follows a step; batches (3, 2 views, n, 3, 8, 8)."""
    encoders = tiny_encoder(query), tiny_encoder(key)
    losses = sgd(encoders[:1], lambda k: moco_views_loss(*encoders, queue, batches[k], 0.5)[0], lr=0.1, steps=2)
    _, queries, keys = moco_views_loss(*encoders, queue, batches[2], 0.5)
    answer = {"losses": losses, "queries": queries, "keys": keys, "keys have a gradient": keys.requires_grad}
    pointer = moco_after_step(*encoders, queue, 4, keys, 0.7)
    states = {"query": snapshot(encoders[0]), "key": snapshot(encoders[1])}
    return answer | states | {"queue": queue, "pointer": pointer}
