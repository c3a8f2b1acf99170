"""Learned vectors beside the words of a text, read by the frozen text tower (CoOp, Zhou et al. 2022; EffPrompt, 2022).

The tower's weights stay as they are: gradients reach nothing but the vectors. They take the places of stand-in tokens,
so that the tower's own code reads the text, whatever open_clip architecture it is.
"""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Int
from torch import Tensor, nn

from tadlib.data.encoder import Encoder
from tadlib.naming.text import TextEmbeddings, in_rows
from tadlib.naming.tokens import has_pieces

ENDS = 2  # tokens that say where a text begins and ends
STAND_IN = "x"  # its embedding is never read


def fits(encoder: Encoder, number: int, texts: Iterable[Sequence[str]]) -> bool:
    """Whether so many vectors leave room for every text of some classes; any text fits where there are none."""
    if not number:
        return True
    if not has_pieces(encoder):
        return False
    longest = max(len(encoder.tokenizer.encode(text)) for several in texts for text in several)
    return longest + number + ENDS <= encoder.tokenizer.context_length


class Context(nn.Module):
    """`number` vectors before every text, or one half before and one half behind it (`around`)."""

    def __init__(self, encoder: Encoder, number: int, where: str = "before") -> None:
        super().__init__()
        if not has_pieces(encoder):
            raise ValueError(f"context={number} needs CLIP's own tokenizer and text tower, got those of {encoder.name}")
        self.encoder = encoder  # no module of torch: its weights are no part of the state
        self.behind = number // 2 if where == "around" else 0
        tower = getattr(encoder.model, "text", encoder.model)
        self.vectors = nn.Parameter(0.02 * torch.randn(number, tower.token_embedding.weight.shape[1]))

    def tokens(self, texts: Sequence[str]) -> Int[Tensor, "m places"]:
        """Texts with stand-ins where the vectors go; raises ValueError for a text that leaves no room for them."""
        tokenizer, before = self.encoder.tokenizer, len(self.vectors) - self.behind
        (stand_in,), rows = tokenizer.encode(STAND_IN), []
        for text in texts:
            pieces = tokenizer.encode(text)
            row = [tokenizer.sot_token_id, *[stand_in] * before, *pieces, *[stand_in] * self.behind]
            row.append(tokenizer.eot_token_id)
            if len(row) > tokenizer.context_length:
                raise ValueError(
                    f"context={len(self.vectors)} leaves no room for {text!r}: {len(row)} of "
                    f"{tokenizer.context_length} tokens; pass fewer vectors or shorter texts"
                )
            rows.append(row + [0] * (tokenizer.context_length - len(row)))
        return torch.tensor(rows)

    def forward(self, texts: Sequence[tuple[str, ...]]) -> TextEmbeddings:
        """Embeddings of the texts of classes, each read with the vectors; gradients reach them alone."""
        tokens = self.tokens([text for several in texts for text in several])
        ends = (tokens == self.encoder.tokenizer.eot_token_id).int().argmax(dim=1)
        before, rows = len(self.vectors) - self.behind, torch.arange(len(tokens))[:, None]
        places = torch.arange(1, 1 + before).expand(len(tokens), -1)
        if self.behind:
            places = torch.cat([places, ends[:, None] - self.behind + torch.arange(self.behind)], dim=1)
        tower = getattr(self.encoder.model, "text", self.encoder.model)

        def with_vectors(module: nn.Module, given: tuple[Tensor, ...], words: Tensor) -> Tensor:
            """The embeddings of tokens, the stand-ins replaced."""
            words = words.clone()
            words[rows.to(words.device), places.to(words.device)] = self.vectors.to(words)
            return words

        hook = tower.token_embedding.register_forward_hook(with_vectors)
        try:
            embeddings = self.encoder.model.encode_text(tokens.to(self.encoder.device))
        finally:
            hook.remove()
        return in_rows(embeddings.float().cpu(), [len(several) for several in texts])
