"""The model that `promote` registers, as MLflow keeps it: this file itself ("models from code"), nothing pickled.

It loads without Ray, without this repository and its data: a checkpoint and copies of the packages `trainables` and
`data_pipeline` travel with it.

    model = mlflow.pyfunc.load_model("models:/fersweep@champion")
    model.predict(blendshapes)     # DataFrame, one column a blendshape → one column a class, and `label`

MLflow runs this file to load the model; nothing else imports it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel


class FaceClassifier(PythonModel):
    """Blendshapes of faces in, class probabilities out."""

    def load_context(self, context: Any) -> None:
        import trainables
        from trainables.base import read_checkpoint

        checkpoint = Path(context.artifacts["checkpoint"])
        described, _ = read_checkpoint(checkpoint)
        self.classes, self.feature_names = described["classes"], described["feature_names"]
        self.model = trainables.restore(checkpoint)

    def predict(  # type: ignore[override]
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """(N rows, F float columns) blendshapes → (N, C + 1): probabilities by class, and the `label`."""
        probabilities = self.model.predict(model_input[self.feature_names].to_numpy("float32"))
        found = pd.DataFrame(probabilities, columns=self.classes, index=model_input.index)
        return found.assign(label=found.idxmax(axis=1))


set_model(FaceClassifier())
