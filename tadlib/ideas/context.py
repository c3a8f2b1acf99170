"""Learned context vectors in the prompt of a frozen text encoder (CoOp, Zhou et al. 2022; EffPrompt, 2022).

Only the vectors get gradients. They replace the embeddings of placeholder tokens, so that the encoder's own code runs
unchanged for any open_clip architecture.
"""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Int
from torch import Tensor, nn

from tadlib.data.encoder import Encoder
from tadlib.naming.text import TextEmbeddings, by_class
from tadlib.naming.tokens import has_clip_tokenizer

END_TOKENS = 2  # start and end token
PLACEHOLDER = "x"  # placeholder token, whose embedding is never used


def fits(encoder: Encoder, number: int, texts: Iterable[Sequence[str]]) -> bool:
    """Whether the context length has room for `number` vectors and every text."""
    if not number:
        return True
    if not has_clip_tokenizer(encoder):
        return False
    longest = max(len(encoder.tokenizer.encode(text)) for several in texts for text in several)
    return longest + number + END_TOKENS <= encoder.tokenizer.context_length


class Context(nn.Module):
    """`number` learned vectors before each text, or half before and half behind it (`around`)."""

    def __init__(self, encoder: Encoder, number: int, where: str = "before") -> None:
        super().__init__()
        if not has_clip_tokenizer(encoder):
            raise ValueError(f"context={number} needs CLIP's own tokenizer and text tower, got those of {encoder.name}")
        self.encoder = encoder  # not a submodule: its weights are not in the state dict
        self.behind = number // 2 if where == "around" else 0
        tower = getattr(encoder.model, "text", encoder.model)
        self.vectors = nn.Parameter(0.02 * torch.randn(number, tower.token_embedding.weight.shape[1]))

    def tokens(self, texts: Sequence[str]) -> Int[Tensor, "m places"]:
        """Token ids of texts with placeholders for the vectors; raises ValueError for a text that leaves no room."""
        tokenizer, before = self.encoder.tokenizer, len(self.vectors) - self.behind
        (placeholder,), rows = tokenizer.encode(PLACEHOLDER), []
        for text in texts:
            pieces = tokenizer.encode(text)
            row = [tokenizer.sot_token_id, *[placeholder] * before, *pieces, *[placeholder] * self.behind]
            row.append(tokenizer.eot_token_id)
            if len(row) > tokenizer.context_length:
                raise ValueError(
                    f"context={len(self.vectors)} leaves no room for {text!r}: {len(row)} of "
                    f"{tokenizer.context_length} tokens; pass fewer vectors or shorter texts"
                )
            rows.append(row + [0] * (tokenizer.context_length - len(row)))
        return torch.tensor(rows)

    def forward(self, texts: Sequence[tuple[str, ...]]) -> TextEmbeddings:
        """Embeddings of the texts of classes, each read with the vectors; only the vectors get gradients."""
        tokens = self.tokens([text for several in texts for text in several])
        ends = (tokens == self.encoder.tokenizer.eot_token_id).int().argmax(dim=1)
        before, rows = len(self.vectors) - self.behind, torch.arange(len(tokens))[:, None]
        places = torch.arange(1, 1 + before).expand(len(tokens), -1)
        if self.behind:
            places = torch.cat([places, ends[:, None] - self.behind + torch.arange(self.behind)], dim=1)
        tower = getattr(self.encoder.model, "text", self.encoder.model)

        def with_vectors(module: nn.Module, given: tuple[Tensor, ...], words: Tensor) -> Tensor:
            words = words.clone()
            words[rows.to(words.device), places.to(words.device)] = self.vectors.to(words)
            return words

        hook = tower.token_embedding.register_forward_hook(with_vectors)
        try:
            embeddings = self.encoder.model.encode_text(tokens.to(self.encoder.device))
        finally:
            hook.remove()
        return by_class(embeddings.float().cpu(), [len(several) for several in texts])
