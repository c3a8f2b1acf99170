"""How CLIP reads a text: pieces of words with numbers, a mark at the start and one at the end, and what is cut off."""

from collections.abc import Sequence

from tadlib.data.encoder import Encoder
from tadlib.data.texts import TextTable

WHOLE = "read as a whole: its embedding was made elsewhere"
OTHERS = "read by a tokenizer whose pieces cannot be shown"
TAIL = 40  # letters on both sides of a cut that are shown
PIECES = ("sot_token_id", "eot_token_id", "context_length", "encode", "decode")  # what CLIP's own tokenizer has


def reads_any_text(encoder: Encoder) -> bool:
    """Whether an encoder embeds whatever is said, and not the texts of a table alone."""
    return not isinstance(encoder.model, TextTable)


def has_pieces(encoder: Encoder) -> bool:
    """Whether the encoder's tokenizer is CLIP's, whose pieces can be shown."""
    return reads_any_text(encoder) and all(hasattr(encoder.tokenizer, name) for name in PIECES)


def not_read(encoder: Encoder, text: str) -> str:
    """The end of a text that lies past the encoder's context; empty where it is read as a whole.

    Whatever the tokenizer, a beginning that gives the same numbers as the whole text is all that is read.
    """
    if not reads_any_text(encoder):
        return ""
    whole, least, most = encoder.tokenizer([text])[0].tolist(), 0, len(text)
    last = max((place for place, letter in enumerate(text) if letter.isalnum()), default=0)
    if encoder.tokenizer([text[:last]])[0].tolist() != whole:
        return ""
    while least < most:
        middle = (least + most) // 2
        same = encoder.tokenizer([text[:middle]])[0].tolist() == whole
        least, most = (least, middle) if same else (middle + 1, most)
    return text[most:].strip()


def cut_texts(encoder: Encoder, texts: Sequence[str]) -> dict[str, str]:
    """The texts that are not read as a whole, each with what is left out."""
    found = {text: not_read(encoder, text) for text in dict.fromkeys(texts)}
    return {text: rest for text, rest in found.items() if rest}


def told_cut(text: str, rest: str) -> str:
    """Where a text is cut, for people."""
    read = text.removesuffix(rest).strip()
    before, behind = ("... " if len(read) > TAIL else "", " ..." if len(rest) > TAIL else "")
    return f"read up to {before + read[-TAIL:]!r}, not {rest[:TAIL] + behind!r}"


def token_rows(encoder: Encoder, texts: Sequence[str]) -> list[dict[str, object]]:
    """A row a text: its pieces with their numbers between the marks, how many of the context's places they take, and
    what is not read because it lies past the end of the context.
    """
    if not has_pieces(encoder):
        how = OTHERS if reads_any_text(encoder) else WHOLE
        return [{"text": text, "tokens": how, "places": "", "not read": not_read(encoder, text)} for text in texts]
    tokenizer, rows = encoder.tokenizer, []
    context = tokenizer.context_length
    for text in texts:
        read = tokenizer.encode(text)[: context - 2]
        shown = [f"{tokenizer.decode([number]).strip()}={number}" for number in read]
        marked = [f"[start]={tokenizer.sot_token_id}", *shown, f"[end]={tokenizer.eot_token_id}"]
        places = f"{len(marked)} of {context}"
        rows.append({"text": text, "tokens": " ".join(marked), "places": places, "not read": not_read(encoder, text)})
    return rows


def too_long(encoder: Encoder, text: str) -> str:
    """A text again and again, until it no longer fits into the context."""
    if not has_pieces(encoder):
        return text
    return " ".join([text] * (encoder.tokenizer.context_length // max(1, len(encoder.tokenizer.encode(text))) + 1))


def explain(encoder: Encoder, text: str) -> list[dict[str, object]]:
    """A row a place of the context that one text takes: number, piece, and what it is for."""
    if not has_pieces(encoder):
        return [{"place": 0, "number": "", "piece": text, "is": OTHERS if reads_any_text(encoder) else WHOLE}]
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
