"""The weights a detector starts from: ours, and those of the published system."""

import math
from itertools import chain

import torch
from torch import nn

from tadlib.detector.layers import Attention
from tadlib.detector.refine import AttentionFusion, RectifyingLayer

SHARPNESS = 2.0  # gain of the first projections of positions: how narrowly an untrained query looks
RARE = 0.01  # probability of an action that untrained queries answer, as focal loss wants it (Lin et al. 2017)
WIDTH_LOGIT = -2.5  # an action fills about a twelfth of a window


def start_well(model: nn.Module) -> None:
    """Ours: every query looks where it stands, answers a short segment there, and thinks it no action."""
    as_they_are = {id(part) for part in (model.queries, model.places, *model.embed.parameters())}
    for parameter in model.parameters():
        if parameter.dim() > 1 and id(parameter) not in as_they_are:
            nn.init.xavier_uniform_(parameter)
    for layer in model.decoder:
        nn.init.orthogonal_(layer.query_position.weight, SHARPNESS)
        layer.key_position.load_state_dict(layer.query_position.state_dict())
    for last in (model.segment[-1], model.scale[-1]):
        nn.init.zeros_(last.weight)
    if model.centre is not None:
        nn.init.zeros_(model.centre[-1].weight)
        nn.init.zeros_(model.centre[-1].bias)
    if model.fuse is not None:
        nn.init.zeros_(model.fuse.attention.out.weight)
    nn.init.ones_(model.scale[-1].bias)
    with torch.no_grad():
        model.segment[-1].bias.copy_(torch.tensor([0.0, 0.0 if model.switches.iterative else WIDTH_LOGIT]))
        nn.init.constant_(model.actionness.bias, -math.log((1 - RARE) / RARE))


def start_as_published(model: nn.Module) -> None:
    """Published: the transformer by Xavier's rule, convolutions by Kaiming's, all else as torch makes it.

    Projections that its attention keeps in one matrix are drawn in the range of that matrix, and have no bias at first.
    """
    parts = (model.encoder, model.decoder, model.scale, model.centre, model.content)
    for parameter in chain.from_iterable(part.parameters() for part in parts if part is not None):
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
    width = model.width
    for layer in model.encoder:
        _as_one(3 * width, layer.query_key, layer.value)
    for layer in model.decoder:
        _each_alone(width, layer.self_query_key, layer.self_place_query_key)
    for layer in model.rectifying:
        _start_second_look(layer, width)
    for module in model.modules():
        if isinstance(module, Attention):
            nn.init.zeros_(module.out.bias)
    for convolution in model.backbone.layers:
        nn.init.kaiming_uniform_(convolution.weight)
        nn.init.zeros_(convolution.bias)
    nn.init.zeros_(model.segment[-1].weight)
    nn.init.zeros_(model.segment[-1].bias)
    nn.init.constant_(model.actionness.bias, -math.log((1 - RARE) / RARE))


def _start_second_look(layer: RectifyingLayer, width: int) -> None:
    if isinstance(layer.fusion, AttentionFusion):
        _as_one(3 * width, layer.fusion.query, layer.fusion.key_value)
        nn.init.zeros_(layer.fusion.out.bias)
    if layer.query_key_value is not None:
        _as_one(layer.query_key_value.out_features, layer.query_key_value)


def _each_alone(outputs: int, *linears: nn.Linear) -> None:
    """Xavier's rule for projections of so many outputs each, several of which lie in one matrix here."""
    for linear in linears:
        bound = math.sqrt(6 / (linear.in_features + outputs))
        nn.init.uniform_(linear.weight, -bound, bound)


def _as_one(outputs: int, *linears: nn.Linear) -> None:
    _each_alone(outputs, *linears)
    for linear in linears:
        nn.init.zeros_(linear.bias)
