"""A reader of one's own: a table of annotations beside pictures. docs/how-to/own-reader.md tells how to use it.

    fersweep check reader examples/my_reader.py SOURCE
    fersweep prepare SOURCE --reader examples/my_reader.py --out runs/data/mine

The source, a folder, a zip or a tar, has `annotations.csv` and the pictures that it names:

    file,emotion,set,person,quality
    001.png,joy,train,anna,good
"""

LABELS = {"joy": "happy", "AN": "angry", "bored": None}  # what its labels are called here; None leaves them out


def read(files):
    for row in files.table("annotations.csv"):
        yield {
            "face": files["images/" + row["file"]],
            "label": row["emotion"],
            "split": row["set"],
            "subject": row["person"],
            "drop": "blurred" if row["quality"] == "poor" else None,
        }
