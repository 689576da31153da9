"""What a sweep left, and what is made of it.

record ← scores ← compare ← report; (record, scores) ← mlflow_store ← tracking ← dashboards;
(record, mlflow_store) ← models ← evaluate ← promote; models ← predict
"""
