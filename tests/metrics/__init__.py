"""What Prometheus and Grafana are given: config/prometheus-rules.yaml, config/grafana-dashboard.json."""
