"""CLIP tokens of texts, and text beyond the context length."""

from collections.abc import Sequence

from tadlib.data.encoder import Encoder, TextTable

PRECOMPUTED = "read as a whole: its embedding was made elsewhere"
UNREADABLE = "read by a tokenizer whose pieces cannot be shown"
SHOWN_LETTERS = 40  # characters shown on either side of the cut
TOKENIZER_ATTRIBUTES = ("sot_token_id", "eot_token_id", "context_length", "encode", "decode")


def reads_any_text(encoder: Encoder) -> bool:
    """Whether the encoder embeds any text, in contrast to a table of embeddings."""
    return not isinstance(encoder.model, TextTable)


def has_clip_tokenizer(encoder: Encoder) -> bool:
    """Whether the encoder has CLIP's own tokenizer, whose tokens can be shown."""
    return reads_any_text(encoder) and all(hasattr(encoder.tokenizer, name) for name in TOKENIZER_ATTRIBUTES)


def cut_off(encoder: Encoder, text: str) -> str:
    """Return the end of a text beyond the encoder's context length, or an empty string.

    Works with any tokenizer: bisects for the shortest prefix with the same tokens as the whole text.
    """
    if not reads_any_text(encoder):
        return ""
    whole, low, high = encoder.tokenizer([text])[0].tolist(), 0, len(text)
    last = max((place for place, letter in enumerate(text) if letter.isalnum()), default=0)
    if encoder.tokenizer([text[:last]])[0].tolist() != whole:
        return ""
    while low < high:
        middle = (low + high) // 2
        same = encoder.tokenizer([text[:middle]])[0].tolist() == whole
        low, high = (low, middle) if same else (middle + 1, high)
    return text[high:].strip()


def cut_texts(encoder: Encoder, texts: Sequence[str]) -> dict[str, str]:
    """Return the texts beyond the context length, each with the part that is cut off."""
    cuts = {text: cut_off(encoder, text) for text in dict.fromkeys(texts)}
    return {text: cut for text, cut in cuts.items() if cut}


def describe_cut(text: str, cut: str) -> str:
    """Return a message that shows where a text is cut."""
    read = text.removesuffix(cut).strip()
    before, behind = ("... " if len(read) > SHOWN_LETTERS else "", " ..." if len(cut) > SHOWN_LETTERS else "")
    return f"read up to {before + read[-SHOWN_LETTERS:]!r}, not {cut[:SHOWN_LETTERS] + behind!r}"


def token_rows(encoder: Encoder, texts: Sequence[str]) -> list[dict[str, object]]:
    """Return a row for each text: its tokens, the context positions they take, and the part that is cut off."""
    if not has_clip_tokenizer(encoder):
        note = UNREADABLE if reads_any_text(encoder) else PRECOMPUTED
        return [{"text": text, "tokens": note, "positions": "", "cut off": cut_off(encoder, text)} for text in texts]
    tokenizer, rows = encoder.tokenizer, []
    context = tokenizer.context_length
    for text in texts:
        read = tokenizer.encode(text)[: context - 2]
        shown = [f"{tokenizer.decode([number]).strip()}={number}" for number in read]
        marked = [f"[start]={tokenizer.sot_token_id}", *shown, f"[end]={tokenizer.eot_token_id}"]
        row = {"text": text, "tokens": " ".join(marked), "positions": f"{len(marked)} of {context}"}
        rows.append(row | {"cut off": cut_off(encoder, text)})
    return rows


def too_long(encoder: Encoder, text: str) -> str:
    """Repeat a text until it no longer fits into the context."""
    if not has_clip_tokenizer(encoder):
        return text
    return " ".join([text] * (encoder.tokenizer.context_length // max(1, len(encoder.tokenizer.encode(text))) + 1))


def explain(encoder: Encoder, text: str) -> list[dict[str, object]]:
    """Return a row for each context position of a text: token id, token, and its meaning."""
    if not has_clip_tokenizer(encoder):
        note = UNREADABLE if reads_any_text(encoder) else PRECOMPUTED
        return [{"position": 0, "token id": "", "token": text, "meaning": note}]
    numbers = encoder.tokenizer([text])[0].tolist()
    start, end = encoder.tokenizer.sot_token_id, encoder.tokenizer.eot_token_id
    kinds = {start: "start of the text", end: "end of the text: its output becomes the embedding"}
    return [
        {
            "position": position,
            "token id": number,
            "token": encoder.tokenizer.decode([number]).strip(),
            "meaning": kinds.get(number, "a word or a piece of one"),
        }
        for position, number in enumerate(numbers[: numbers.index(end) + 1])
    ]
