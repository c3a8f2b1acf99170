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
        self.before = number - self.behind
        self.vectors = nn.Parameter(0.02 * torch.randn(number, self._embedding.weight.shape[1]))

    @property
    def _embedding(self) -> nn.Embedding:
        return getattr(self.encoder.model, "text", self.encoder.model).token_embedding

    def tokens(self, texts: Sequence[str]) -> Int[Tensor, "m places"]:
        """Token ids of texts with placeholders for the vectors; raises ValueError for a text that leaves no room."""
        tokenizer, rows = self.encoder.tokenizer, []
        start, end, most = tokenizer.sot_token_id, tokenizer.eot_token_id, tokenizer.context_length
        before, behind = (number * tokenizer.encode(PLACEHOLDER) for number in (self.before, self.behind))
        for text in texts:
            row = [start, *before, *tokenizer.encode(text), *behind, end]
            if len(row) > most:
                room = f"context={len(self.vectors)} leaves no room for {text!r}: {len(row)} of {most} tokens"
                raise ValueError(f"{room}; pass fewer vectors or shorter texts")
            rows.append(row + [0] * (most - len(row)))
        return torch.tensor(rows)

    def forward(self, texts: Sequence[tuple[str, ...]]) -> TextEmbeddings:
        """Embeddings of the texts of classes, each read with the vectors; only the vectors get gradients."""
        tokens = self.tokens([text for several in texts for text in several])
        ends = (tokens == self.encoder.tokenizer.eot_token_id).int().argmax(dim=1)
        rows, places = torch.arange(len(tokens))[:, None], torch.arange(1, 1 + self.before).expand(len(tokens), -1)
        places = torch.cat([places, ends[:, None] - self.behind + torch.arange(self.behind)], dim=1)

        def with_vectors(module: nn.Module, given: tuple[Tensor, ...], words: Tensor) -> Tensor:
            words = words.clone()
            words[rows.to(words.device), places.to(words.device)] = self.vectors.to(words)
            return words

        hook = self._embedding.register_forward_hook(with_vectors)
        try:
            embeddings = self.encoder.model.encode_text(tokens.to(self.encoder.device))
        finally:
            hook.remove()
        return by_class(embeddings.float().cpu(), [len(several) for several in texts])
