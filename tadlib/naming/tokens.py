"""How CLIP reads a text: pieces of words with numbers, a mark at the start and one at the end, and what is cut off."""

from collections.abc import Sequence

from tadlib.data.encoder import Encoder


def token_rows(encoder: Encoder, texts: Sequence[str]) -> list[dict[str, object]]:
    """A row a text: its pieces with their numbers between the marks, how many of the context's places they take, and
    what is not read because it lies past the end of the context.

    Raises ValueError where the encoder has no tokenizer with pieces (embeddings that were made elsewhere).
    """
    tokenizer = encoder.tokenizer
    if not hasattr(tokenizer, "sot_token_id") or not hasattr(tokenizer, "context_length"):
        raise ValueError(f"encoder {encoder.name!r} has no tokenizer whose pieces can be shown: it reads whole texts")
    context = tokenizer.context_length
    rows = []
    for text in texts:
        pieces = tokenizer.encode(text)
        read, cut = pieces[: context - 2], pieces[context - 2 :]
        shown = " ".join(f"{tokenizer.decode([number]).strip()}={number}" for number in read)
        rows.append(
            {
                "text": text,
                "tokens": f"<start>={tokenizer.sot_token_id} {shown} <end>={tokenizer.eot_token_id}",
                "places": f"{len(read) + 2} of {context}",
                "not read": tokenizer.decode(cut).strip(),
            }
        )
    return rows


def explain(encoder: Encoder, text: str) -> list[dict[str, object]]:
    """A row a place of the context that one text takes: number, piece, and what it is for."""
    numbers = encoder.tokenizer([text])[0].tolist()
    start, end = encoder.tokenizer.sot_token_id, encoder.tokenizer.eot_token_id
    kinds = {start: "start of the text", end: "end of the text: its output becomes the embedding"}
    used = numbers[: numbers.index(end) + 1]
    return [
        {
            "place": place,
            "number": number,
            "piece": encoder.tokenizer.decode([number]).strip(),
            "is": kinds.get(number, "a word or a piece of one"),
        }
        for place, number in enumerate(used)
    ]
