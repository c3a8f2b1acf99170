"""Export of annotations and detections to the layouts of other programs (tad export)."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tadlib.data.layouts import positive
from tadlib.data.readers import actions_of, read_table
from tadlib.files import write_json, write_text


def export(
    source: Path | str,
    target: Path | str,
    layout: str,
    *,
    fps: str = "",
    videos: str = "{}.mp4",
    in_frames: bool = False,
) -> int:
    """Write the rows of a file in a `layout`, "activitynet", "csv", "fiftyone" or "label-studio"; returns their number.

    Layouts in frames, and annotations `in_frames`, need `fps` for videos without a frame rate in the file; Label Studio
    needs `videos`, the URL of a video with {} for its id. Raises ValueError naming what is wrong, and for a table of
    videos some of which have no row.
    """
    table, given = read_table(source, in_frames=in_frames), positive("the command", {"fps": fps}, "fps")
    about: dict[str, dict[str, Any]] = {}
    for video in dict.fromkeys((*table.about, *table.video)):
        fields = table.about.get(video, {})
        fields = fields | {"fps": positive(f"{source}: video {video}", fields, "fps") or given}
        if not fields["fps"] and (layout in ("label-studio", "fiftyone") or video in table.in_frames):
            raise ValueError(f"{source}: video {video} has no frame rate: pass --fps, for example --fps 30000/1001")
        about[video] = {name: fields[name] for name in ("subset", "duration", "fps") if fields.get(name)}
    rows: dict[str, list[dict[str, Any]]] = {video: [] for video in about}
    for video, action, score in actions_of(table):
        rate = about[video]["fps"] if video in table.in_frames else 1
        scored = {} if score is None else {"score": score}
        rows[video].append({"segment": [action.start / rate, action.end / rate], "label": action.label} | scored)
    if layout == "csv":
        if empty := [video for video, own in rows.items() if not own]:
            raise ValueError(f"{source}: video {empty[0]} has no row, which a table cannot say: use another layout")
        write_text(target, _csv(rows, about))
    elif layout == "label-studio":
        write_json(target, [_task(videos.replace("{}", name), about[name], own) for name, own in rows.items()])
    elif layout == "fiftyone":
        supports = {video: [_support(about[video]["fps"], row) for row in own] for video, own in rows.items()}
        write_json(target, {"labels": supports})
    elif table.score:
        write_json(target, {"version": "tadlib", "results": rows, "external_data": {}})
    else:
        write_json(target, {"database": {video: about[video] | {"annotations": own} for video, own in rows.items()}})
    return len(table.video)


def _csv(rows: Mapping[str, Sequence[Mapping[str, Any]]], about: Mapping[str, Mapping[str, Any]]) -> str:
    import pandas as pd  # late, because only exports need it

    table = [
        {"video-id": video, "t-start": row["segment"][0], "t-end": row["segment"][1]} | dict(row) | dict(about[video])
        for video, own in rows.items()
        for row in own
    ]
    return pd.DataFrame(table).drop(columns="segment").to_csv(index=False)


def _frames(fps: float, segment: Sequence[float]) -> tuple[int, int]:
    """Return the first and last frame of a segment, counted from 1."""
    start, end = (round(each * fps) for each in segment)
    return start + 1, max(start + 1, end)


def _support(fps: float, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return FiftyOne's temporal detection for a row."""
    made = {"label": row["label"], "support": _frames(fps, row["segment"])}
    return made | ({"confidence": row["score"]} if "score" in row else {})


def _task(video: str, about: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return Label Studio's task for a video: predictions if its rows have scores, otherwise annotations."""
    regions = []
    for row in rows:
        start, end = _frames(about["fps"], row["segment"])
        value = {"ranges": [{"start": start, "end": end}], "timelinelabels": [row["label"]]}
        region = {"from_name": "videoLabels", "to_name": "video", "type": "timelinelabels", "value": value}
        regions.append(region | {name: row[name] for name in row if name == "score"})
    kind = "predictions" if any("score" in region for region in regions) else "annotations"
    return {"data": {"video": video, **about}, kind: [{"result": regions}]}
