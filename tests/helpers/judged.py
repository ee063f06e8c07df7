"""An episode's item, its package and what the gate said of it."""

ITEM = {
    "pk": "EPISODE#flights-20130401-000041-3f78186c",
    "endpoint_name": "flights",
    "cause": "arn:aws:cloudwatch:us-east-1:000000000000:alarm:drift, (max > 0.3) ✓" + "x" * 300,
    "dataset_uri": "s3://bucket/episodes/flights/dataset",
    "gate_summary": "promote: rmse 20 -> 12, better by 7 to 9",
    "model_sha256": "0" * 64,
    "execution_arn": None,
}
PACKAGE = {"InferenceSpecification": {"Containers": [{"ModelDataUrl": "s3://b/m.tar.gz", "Image": "image"}]}}
SEGMENT = {"feature": "carrier", "level": "AA", "difference": 1.5}
EVALUATION = {
    "gate": {
        "metric": "rmse",
        "champion": 20.0,
        "challenger": 12.0,
        "difference": 8.0,
        "interval": [7.0, 9.0],
        "margin": 0.2,
        "candidate": "scratch",
        "rows": {"holdout": 800, "reference": 300},
        "reference": {"champion": 10.0, "challenger": 10.5, "limit": 11.5},
    },
    "segments": [SEGMENT, {**SEGMENT, "level": None, "difference": None}],
}
BOOTSTRAP = {"gate": {"metric": "rmse", "challenger": 12.0, "champion": None, "interval": None}, "segments": []}
