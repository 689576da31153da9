"""What a sweep left behind, and what is made of it. Which files belong together:

- the record: journal, storage, checkpoints, sweeps, status, study
- MLflow: tracking (the recorder), projection, runs, describe_run, note, run_view, artifacts, missing, store, ui, dashboard
- judging: scoring, significance, evaluate, figures, trees, models, onnx_model, elsewhere
- comparing: tables (of the terminal), comparison, compare, compare_sweeps, same_faces, compare_tables, compare_page
- the report: report, searched, course, charts, search_charts, space_charts, course_charts, model_charts, pictures
- promotion: promote, gates, refit, register, registry, model_card, package, model, export
- use: predict, recognise, inputs, clip, tracks, video, outputs, draw, emoji
"""
