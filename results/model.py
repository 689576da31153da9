"""The model that `promote` registers, as MLflow keeps it: this file itself ("models from code"), nothing pickled.

It loads without Ray, without this repository and its data: a checkpoint and copies of the packages `trainables` and
`data_pipeline` travel with it.

    model = mlflow.pyfunc.load_model("models:/fersweep@champion")
    model.predict(inputs)     # → DataFrame, one column a class, and `label`

`inputs` is what the model learned from, as its signature says: a DataFrame with a column a blendshape, or gray faces as
an array (N, H, W) of bytes.

MLflow runs this file to load the model; nothing else imports it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel


class FaceClassifier(PythonModel):
    """Blendshapes of faces, or the faces themselves, in; class probabilities out."""

    def load_context(self, context: Any) -> None:
        import trainables
        from trainables.base import read_checkpoint

        checkpoint = Path(context.artifacts["checkpoint"])
        described, _ = read_checkpoint(checkpoint)
        self.classes, self.feature_names = described["classes"], described["feature_names"]
        self.model = trainables.restore(checkpoint)

    def predict(  # type: ignore[override]  # MLflow knows no type hint for one of two types; the signature says which
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """(N rows, F float columns) blendshapes, or faces (N, H, W) uint8 → (N, C + 1): class probabilities, `label`."""
        if self.feature_names == ["pixels"]:
            x, index = np.asarray(model_input, np.uint8), None
        else:
            x, index = model_input[self.feature_names].to_numpy("float32"), model_input.index
        found = pd.DataFrame(self.model.predict(x), columns=self.classes, index=index)
        return found.assign(label=found.idxmax(axis=1))


set_model(FaceClassifier())
