"""The reader that `fersweep new reader my_reader.py` writes, to be changed."""

TEMPLATE = '''\
"""Reads my faces: fersweep prepare SOURCE --reader {name} --out runs/data/mine

Try it first: fersweep check reader {name} SOURCE
"""

# What my labels are called here: angry disgust fear happy sad surprise neutral contempt; None leaves them out.
LABELS = {{"joy": "happy", "bored": None}}


def read(files):
    """Yield a dict for each face; `files` are those of the source, be it a folder, a zip or a tar."""
    for row in files.table("annotations.csv"):  # a CSV's rows by column: {{"file": "001.png", "emotion": "joy", …}}
        yield {{
            "face": files["images/" + row["file"]],  # a file, bytes of a picture, or an array (H, W) or (H, W, 3) of uint8
            "label": row["emotion"],
            "split": row["set"],  # train, val or test; leave it out, and splits are drawn
            "subject": row["person"],  # who it is, so that nobody both learns and tests; leave it out if unknown
        }}
    # Without a table: for file in files.pictures(): yield {{"face": file, "label": file.path.parent.name}}
    # Also: "votes": {{"happy": 7, "sad": 3}}, "box": (left, top, right, bottom), "name": "…", "drop": "blurred"
'''


def filled(name: str) -> str:
    """The template for a file of that name."""
    return TEMPLATE.format(name=name)
