"""How CLIP reads a text: pieces of words with numbers, a mark at the start and one at the end, and what is cut off."""

from collections.abc import Sequence

from tadlib.data.encoder import Encoder

WHOLE = "read as a whole: its embedding was made elsewhere"


def has_pieces(encoder: Encoder) -> bool:
    """Whether the encoder's tokenizer is CLIP's, whose pieces can be shown."""
    return all(hasattr(encoder.tokenizer, name) for name in ("sot_token_id", "eot_token_id", "context_length"))


def token_rows(encoder: Encoder, texts: Sequence[str]) -> list[dict[str, object]]:
    """A row a text: its pieces with their numbers between the marks, how many of the context's places they take, and
    what is not read because it lies past the end of the context.
    """
    if not has_pieces(encoder):
        return [{"text": text, "tokens": WHOLE, "places": "", "not read": ""} for text in texts]
    tokenizer, rows = encoder.tokenizer, []
    context = tokenizer.context_length
    for text in texts:
        pieces = tokenizer.encode(text)
        read, cut = pieces[: context - 2], pieces[context - 2 :]
        shown = [f"{tokenizer.decode([number]).strip()}={number}" for number in read]
        marked = [f"[start]={tokenizer.sot_token_id}", *shown, f"[end]={tokenizer.eot_token_id}"]
        places, rest = f"{len(marked)} of {context}", tokenizer.decode(cut).strip()
        rows.append({"text": text, "tokens": " ".join(marked), "places": places, "not read": rest})
    return rows


def too_long(encoder: Encoder, text: str) -> str:
    """A text again and again, until it no longer fits into the context."""
    if not has_pieces(encoder):
        return text
    return " ".join([text] * (encoder.tokenizer.context_length // max(1, len(encoder.tokenizer.encode(text))) + 1))


def explain(encoder: Encoder, text: str) -> list[dict[str, object]]:
    """A row a place of the context that one text takes: number, piece, and what it is for."""
    if not has_pieces(encoder):
        return [{"place": 0, "number": "", "piece": text, "is": WHOLE}]
    numbers = encoder.tokenizer([text])[0].tolist()
    start, end = encoder.tokenizer.sot_token_id, encoder.tokenizer.eot_token_id
    kinds = {start: "start of the text", end: "end of the text: its output becomes the embedding"}
    return [
        {
            "place": place,
            "number": number,
            "piece": encoder.tokenizer.decode([number]).strip(),
            "is": kinds.get(number, "a word or a piece of one"),
        }
        for place, number in enumerate(numbers[: numbers.index(end) + 1])
    ]
