"""While it runs: what a person and other programs see of a run.

terminal.py   a live table, plain lines elsewhere (heartbeat.py: one a minute at least)
metrics.py    for Prometheus, through Ray (grafana.json beside the package draws them); prometheus.py says where
loggers.py    TensorBoard, MLflow, Weights & Biases (keyless_wandb.py)
notices.py    messages to people elsewhere; webhooks.py posts them
views.py      tells several of them
"""
