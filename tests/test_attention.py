"""Attention in bfloat16 on a CPU."""

import pytest
import torch
from detectors import features, lively, padded

from tadlib.detector.layers import MAX_STORED, Attention, _matmul_attention


@pytest.mark.parametrize("lengths", [[7, 7], [7, 3]])
def test_matmul_attention_equals_the_fused_kernel(lengths):
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, n, d, generator=generator) for n, d in ((5, 8), (7, 8), (7, 4)))
    attend = torch.arange(7)[None, None, None] < torch.tensor(lengths)[:, None, None, None]
    fused = torch.nn.functional.scaled_dot_product_attention(query, key, value, attend)
    torch.testing.assert_close(_matmul_attention(query, key, value, attend), fused)
    if lengths == [7, 7]:
        torch.testing.assert_close(_matmul_attention(query, key, value, None), fused)


@pytest.mark.parametrize("snippets", [MAX_STORED, MAX_STORED + 1])
def test_bfloat16_attends_as_full_precision_does_at_any_length(snippets):
    attention = Attention(8, 2)
    parts = [torch.randn(1, n, 8, generator=torch.Generator().manual_seed(n)) for n in (4, snippets, snippets)]
    half = attention.bfloat16()(*(part.bfloat16() for part in parts))
    torch.testing.assert_close(half.float(), attention.float()(*parts), atol=2e-2, rtol=0)


def test_full_windows_share_positions_in_half_precision_and_answer_as_padded_ones_do():
    model, x = lively(), features(2, 9)
    model.dtype = torch.bfloat16
    shared = model(x, padded([9, 9]))
    own = model(torch.cat([x, torch.zeros_like(x[:, :1])], dim=1), torch.arange(10).expand(2, -1) >= 9)
    torch.testing.assert_close(shared.segments_cw, own.segments_cw, atol=2e-2, rtol=0)
